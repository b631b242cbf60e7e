// The program noisysgd-train, for executables that add types of their own (docs/extending.md):
//
//   int main(int argc, char** argv) {
//     noisysgd::Extensions extensions;
//     extensions.layers.add("swish", …);
//     return noisysgd::train_main(argc, argv, extensions);
//   }
#pragma once

#include <noisysgd/apps/experiment.h>

namespace noisysgd {

// Exit status: 0 done, 1 an error (one line on standard error; one for every run that diverged), 100 to 127 a command
// line that CLI11 refuses, 129, 130 or 143 after SIGHUP, SIGINT or SIGTERM with a checkpoint written.
int train_main(int argc, char** argv, const Extensions& extensions = {});

// "auto", "cpu", "cuda" or "cuda:N". Throws Error for a device that this build or machine does not have. "auto" is a
// CUDA device if one is usable, otherwise the CPU; a build with CUDA then prints the reason on stderr.
Device parse_device(const std::string& text);

}  // namespace noisysgd
