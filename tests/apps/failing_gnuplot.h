// A gnuplot that fails.
#pragma once

#include <filesystem>
#include <string>

#include <noisysgd/core/file.h>

namespace noisysgd::test {

// Puts a program "gnuplot" into the folder that prints "no such terminal" on standard error and fails.
inline void write_failing_gnuplot(const std::filesystem::path& folder) {
  write_file_atomically(folder / "gnuplot", "#!/bin/sh\necho 'line 3: no such terminal' >&2\nexit 1\n");
  std::filesystem::permissions(folder / "gnuplot", std::filesystem::perms::owner_all);
}

}  // namespace noisysgd::test
