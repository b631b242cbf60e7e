// noisysgd-train with a layer and a noise structure more.
#include "apps/train_app.h"
#include "laplace_fisher.h"
#include "swish.h"

int main(int argc, char** argv) {
  noisysgd::Extensions extensions;
  extensions.layers.add("swish", Swish::read);
  extensions.noises.add("laplace_fisher", LaplaceFisher::read);
  return noisysgd::train_main(argc, argv, extensions);
}
