#include <noisysgd/apps/train_app.h>

int main(int argc, char** argv) { return noisysgd::train_main(argc, argv); }
