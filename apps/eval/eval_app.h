// The program noisysgd-eval, for executables that add types of their own, as train_main (apps/train_app.h).
#pragma once

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// Exit status: 0 done, 1 an error (one line on standard error), 100 to 127 a command line that CLI11 refuses.
int eval_main(int argc, char** argv, const Extensions& extensions = {});

}  // namespace noisysgd
