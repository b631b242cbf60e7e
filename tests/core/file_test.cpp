#include <noisysgd/core/file.h>

#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <thread>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("a file written atomically reads back, replaces the old one and leaves nothing else") {
  const TemporaryFolder folder;
  const std::string bytes = std::string("a\0b\n", 4) + std::string(100'000, 'x');
  write_file_atomically(folder / "f", "old");
  CHECK(read_file(folder / "f") == "old");
  write_file_atomically(folder / "f", bytes);
  CHECK(read_file(folder / "f") == bytes);
  write_file_atomically(folder / "f", "");
  CHECK(read_file(folder / "f").empty());
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("an atomic file not committed leaves the previous file and no temporary") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new");
    CHECK(read_file(folder / "f") == "old");
    CHECK(entries(folder.path()) == 2);
  }
  CHECK(read_file(folder / "f") == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("temporary files of killed writers are removed by the next writer, and no other file is") {
  const TemporaryFolder folder;
  const char* const left = "f.noisysgd-a1b2c3.tmp";
  for (const char* name : {left, "g.noisysgd-a1b2c3.tmp", "f.tmp", "f.noisysgd-.tmp", "f.noisysgd-a1b2c3"})
    std::ofstream(folder / name) << "z";
  fs::create_symlink("f.tmp", folder / "f.noisysgd-abcdef.tmp");
  AtomicFile in_use(folder / "f");
  CHECK_FALSE(fs::exists(folder / left));
  CHECK(entries(folder.path()) == 6);  // five others, and the one in use
  write_file_atomically(folder / "f", "short");
  CHECK(read_file(folder / "f") == "short");
  CHECK(read_file(folder / "f.tmp") == "z");
  in_use.write("later");
  in_use.commit();
  CHECK(read_file(folder / "f") == "later");
  CHECK(entries(folder.path()) == 6);
  CHECK(is_temporary(left));
  CHECK_FALSE(is_temporary("f.tmp"));
  CHECK_FALSE(is_temporary(".noisysgd-a1b2c3.tmp"));
}

TEST_CASE("a name that is empty, or that of a folder, is refused before anything is touched") {
  const TemporaryFolder folder;
  const char* const others[]{"precious", "f.tmp", ".noisysgd-a1b2c3.tmp", "f.noisysgd-a1b2c3.tmp"};
  for (const char* name : others) std::ofstream(folder / name) << "z";
  const fs::path here = fs::current_path();
  fs::current_path(folder.path());
  const std::string empty = error_of([] { write_file_atomically("", "x"); });
  const std::string below = error_of([] { write_file_atomically("absent/", "x"); });
  fs::current_path(here);
  CHECK(empty == "cannot write \"\": expected the name of a file");
  CHECK(below == "cannot write \"absent/\": expected the name of a file");
  CHECK(contains(error_of([&] { write_file_atomically(folder.path() / "", "x"); }), "expected the name of a file"));
  CHECK(contains(error_of([&] { write_file_atomically(folder / ".", "x"); }), "not a regular file"));
  CHECK(entries(folder.path()) == std::size(others));
  fs::create_symlink("absent/", folder / "link");
  CHECK(contains(error_of([&] { write_file_atomically(folder / "link", "x"); }), "link\": expected the name of a file"));
}

TEST_CASE("concurrent writers of one file all succeed, and the file is always complete") {
  const TemporaryFolder folder;
  std::vector<std::string> errors(8);
  {
    std::vector<std::jthread> writers;
    for (std::string& error : errors)
      writers.emplace_back([&error, &folder, letter = static_cast<char>('a' + writers.size())] {
        error = error_of([&] {
          for (int i = 0; i < 100; ++i) write_file_atomically(folder / "f", std::string(5000, letter));
        });
      });
  }
  for (const std::string& error : errors) CHECK(error == "no error was thrown");
  const std::string last = read_file(folder / "f");
  CHECK(last == std::string(5000, last.at(0)));
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a file that is new has the permissions that the umask leaves") {
  const TemporaryFolder folder;
  const mode_t before = ::umask(027);
  write_file_atomically(folder / "f", "x");
  ::umask(before);
  CHECK((fs::status(folder / "f").permissions() & fs::perms::all) == static_cast<fs::perms>(0640));
}

TEST_CASE("links at a writer's temporary names are not followed") {
  const TemporaryFolder folder;
  std::ofstream(folder / "victim") << "precious";
  fs::create_symlink("victim", folder / "f.tmp");
  fs::create_symlink("victim", folder / "log");
  write_file_atomically(folder / "f", "x");
  CHECK(error_of([&] { AppendFile file(folder / "log"); }) ==
        "cannot write " + (folder / "log").string() + ": a symbolic link");
  CHECK(read_file(folder / "victim") == "precious");
}

TEST_CASE("a plain file is read if it exists, and anything else at its path is refused") {
  const TemporaryFolder folder;
  std::ofstream(folder / "f") << "text";
  fs::create_symlink("f", folder / "link");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(read_plain_file(folder / "f") == "text");
  CHECK_FALSE(read_plain_file(folder / "absent"));
  CHECK_FALSE(read_plain_file(folder / "f/below"));
  CHECK(contains(error_of([&] { read_plain_file(folder / "link"); }), "link: a symbolic link"));
  for (const char* name : {"pipe", "."})
    CHECK(contains(error_of([&] { read_plain_file(folder / name); }), "not a regular file"));
  CHECK(contains(error_of([&] { RandomAccessFile(folder / "pipe"); }), "not a regular file"));
}

TEST_CASE("a full disk leaves the previous file, no temporary, and an error with path and reason") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  std::string message;
  {
    const FileSizeLimit limit(4096);
    message = error_of([&] { write_file_atomically(folder / "f", std::string(10'000, 'x')); });
  }
  CHECK(message == "cannot write " + (folder / "f").string() + ": File too large");
  CHECK(read_file(folder / "f") == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a folder that may not be written gives one error with path and reason") {
  const TemporaryFolder folder;
  const fs::path inner = folder / "inner";
  fs::permissions(folder.path(), fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
  fs::create_directory(inner);
  write_file_atomically(inner / "f", "old");
  std::string message;
  {
    const ReadOnlyFolder read_only(inner);
    message = error_of([&] { write_file_atomically(inner / "f", "new"); });
  }
  CHECK(message == "cannot write " + (inner / "f").string() + ": Permission denied");
  CHECK(read_file(inner / "f") == "old");
  CHECK(entries(inner) == 1);
}

TEST_CASE("whether a file can be written is found out without writing it") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  for (const char* name : {"f", "new"}) CHECK_NOTHROW(check_writable(folder / name));
  CHECK(read_file(folder / "f") == "old");
  CHECK(entries(folder.path()) == 1);
  for (const fs::path& path : {folder / "no/f", folder.path(), fs::path("/dev/null"), folder / std::string(300, 'n')})
    CHECK(error_of([&] { check_writable(path); }) == error_of([&] { write_file_atomically(path, "x"); }));
  const ReadOnlyFolder read_only(folder.path());
  CHECK(error_of([&] { check_writable(folder / "f"); }) ==
        "cannot write " + (folder / "f").string() + ": Permission denied");
}

TEST_CASE("a file is replaced if it is new, empty or of the right kind") {
  const TemporaryFolder folder;
  const auto error = [&](const char* name) {
    return error_of([&] { check_replaceable(folder / name, "own:", "a file of mine"); });
  };
  const std::string good = "no error was thrown";
  CHECK(error("new") == good);
  write_file_atomically(folder / "empty", "");
  CHECK(error("empty") == good);
  write_file_atomically(folder / "mine", "own: 3");
  CHECK(error("mine") == good);
  write_file_atomically(folder / "other", "ow");
  CHECK(error("other") == (folder / "other").string() + ": is there and is not a file of mine; it is not replaced");
  int asked = 0;
  const auto asks = [&](const char* name) {
    check_replaceable(
        folder / name, [&] { return ++asked > 0; }, "x");
  };
  asks("new");
  asks("empty");
  CHECK(asked == 0);
  asks("other");
  CHECK(asked == 1);
}

TEST_CASE("a missing folder, a folder as target, a device as target are refused") {
  const TemporaryFolder folder;
  CHECK(contains(error_of([&] { write_file_atomically(folder / "no/f", "x"); }), "No such file or directory"));
  CHECK(contains(error_of([&] { write_file_atomically(folder.path(), "x"); }), "is not a regular file"));
  CHECK(contains(error_of([&] { write_file_atomically("/dev/null", "x"); }), "is not a regular file"));
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(contains(error_of([&] { read_file(folder / "no"); }), "cannot read " + (folder / "no").string() + ": No such"));
  CHECK(contains(error_of([&] { read_file(folder.path()); }), "Is a directory"));
}

TEST_CASE("a symbolic link is followed, not replaced") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "real");
  fs::create_symlink("real/f", folder / "link");
  write_file_atomically(folder / "link", "first");  // dangling until now
  write_file_atomically(folder / "link", "second");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_file(folder / "real/f") == "second");
  CHECK(entries(folder / "real") == 1);
  fs::create_symlink("loop", folder / "loop");
  CHECK(contains(error_of([&] { write_file_atomically(folder / "loop", "x"); }), "Too many levels of symbolic links"));
}

TEST_CASE("a pipe of unknown size is read to its end") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const std::string bytes(50'000, 'p');
  std::thread writer([&] { std::ofstream(folder / "pipe") << bytes; });
  const std::string got = read_file(folder / "pipe");
  writer.join();
  CHECK(got == bytes);
}

TEST_CASE("an append file grows, is cut to a given size, and cannot be cut to more than its size") {
  const TemporaryFolder folder;
  {
    AppendFile file(folder / "log");
    file.append("first\n");
    CHECK(file.size() == 6);
    file.append("second\n");
    CHECK(read_file(folder / "log") == "first\nsecond\n");  // visible at once
    file.sync();
  }
  {
    AppendFile file(folder / "log", 6);
    CHECK(read_file(folder / "log") == "first\n");
    file.append("third\n");
    CHECK(file.size() == 12);
  }
  CHECK(read_file(folder / "log") == "first\nthird\n");
  const std::string message = error_of([&] { AppendFile file(folder / "log", 13); });
  CHECK(contains(message, "it has 12 bytes, fewer than the 13 to keep"));
  CHECK(read_file(folder / "log") == "first\nthird\n");
  AppendFile(folder / "log");
  CHECK(read_file(folder / "log").empty());
  CHECK(contains(error_of([&] { AppendFile(folder / "other", 1); }), "No such file"));
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a record that does not fit is removed completely") {
  const TemporaryFolder folder;
  AppendFile file(folder / "log");
  file.append(std::string(100, 'a'));
  std::string message;
  {
    const FileSizeLimit limit(150);
    message = error_of([&] { file.append(std::string(100, 'b')); });
  }
  CHECK(message == "cannot write " + (folder / "log").string() + ": File too large");
  CHECK(read_file(folder / "log") == std::string(100, 'a'));
  CHECK(file.size() == 100);
  file.append("c");  // room again
  CHECK(read_file(folder / "log") == std::string(100, 'a') + "c");
}

TEST_CASE("appending to a full device is an error") {
  AppendFile file("/dev/full");
  CHECK(error_of([&] { file.append("x"); }) == "cannot write /dev/full: No space left on device");
}

TEST_CASE("random access reads existing bytes and refuses others") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "0123456789");
  const RandomAccessFile file(folder / "f");
  CHECK(file.size() == 10);
  std::string got(4, '?');
  file.read(3, std::as_writable_bytes(std::span(got)));
  CHECK(got == "3456");
  file.read(10, {});
  CHECK(contains(error_of([&] { file.read(8, std::as_writable_bytes(std::span(got))); }), "ends at byte 10"));
  CHECK(contains(error_of([&] { RandomAccessFile(folder.path()); }), "not a regular file"));
}

TEST_CASE("a file is locked exclusively or shared, and no other file is left") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "x");
  {
    const auto lock = PathLock::attempt(folder / "f");
    REQUIRE(lock);
    CHECK_FALSE(PathLock::attempt(folder / "f"));
    CHECK_FALSE(PathLock::attempt_shared(folder / "f"));
  }
  {
    const auto first = PathLock::attempt_shared(folder / "f"), second = PathLock::attempt_shared(folder / "f");
    CHECK((first && second));
    CHECK_FALSE(PathLock::attempt(folder / "f"));
  }
  CHECK(PathLock::attempt(folder / "f"));
  CHECK(entries(folder.path()) == 1);
  CHECK(read_file(folder / "f") == "x");
  CHECK(contains(error_of([&] { PathLock::attempt(folder / "absent"); }), "absent: No such file"));
  fs::create_symlink("f", folder / "link");
  CHECK(contains(error_of([&] { PathLock::attempt_shared(folder / "link"); }), "cannot open "));
}

TEST_CASE("waiting programs get a folder one after the other when it is free") {
  const TemporaryFolder folder;
  std::atomic<int> inside = 0, met = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int round = 0; round < 50; ++round) {
          const PathLock lock = PathLock::wait(folder.path());
          met += ++inside > 1;
          std::this_thread::yield();
          --inside;
        }
      });
  }
  CHECK(met == 0);
  CHECK(entries(folder.path()) == 0);
  CHECK(contains(error_of([&] { PathLock::wait(folder / "absent"); }), "No such file"));
}
