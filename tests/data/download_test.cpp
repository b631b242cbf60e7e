#include <noisysgd/data/download.h>

#include <sys/stat.h>
#include <unistd.h>

#include <noisysgd/data/part_file.h>
#include <noisysgd/data/sha256.h>
#include "tests/data/http_server.h"
#include "tests/data/tar.h"

using namespace noisysgd;
using namespace noisysgd::testing;
namespace fs = std::filesystem;

namespace {

// An invented publication of one compressed file, as one mirror serves it.
struct Publication {
  explicit Publication(const TemporaryFolder& folder) : content(idx_bytes({30000}, noise_bytes(30000))) {
    put_gzip(folder / "published.gz", content);
    compressed = get(folder / "published.gz");
    put_gzip(folder / "recompressed.gz", content, "wb1h");  // Huffman only: another stream, the same content
    recompressed = get(folder / "recompressed.gz");
    source.name = "made_up";
    source.title = "made-up data";
    source.folder = "made-up";
    source.files = {{"values.gz", false, static_cast<int64_t>(content.size()), sha256_hex(content)}};
  }

  Bytes content, compressed, recompressed;
  Source source;
};

struct Notes {
  std::vector<std::string> lines;
  FetchOptions options() {
    FetchOptions options;
    options.note = [this](const std::string& line) { lines.push_back(line); };
    return options;
  }
  std::string all() const {
    std::string text;
    for (const auto& line : lines) text += line + "\n";
    return text;
  }
};

Bytes first(const Bytes& bytes, size_t count) { return {bytes.begin(), bytes.begin() + static_cast<int64_t>(count)}; }

}  // namespace

TEST_CASE("a file is fetched, checked and named; a second fetch sends no request") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer server;
  server.add("values.gz", {publication.compressed});
  publication.source.mirrors = {server.url()};
  Notes notes;
  int64_t last_done = 0;
  auto options = notes.options();
  options.progress = [&](const std::string& file, int64_t done, int64_t total) {
    CHECK(file == "values.gz");
    CHECK(done >= last_done);
    CHECK((total == 0 || done <= total));
    last_done = done;
  };
  fetch(publication.source, folder / "data", options);
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
  CHECK(!fs::exists(folder / "data/made-up/values.gz.part"));
  CHECK(last_done == static_cast<int64_t>(publication.compressed.size()));
  check_mentions(notes.all(), {server.url() + "values.gz", "SHA-256 as published"});
  fetch(publication.source, folder / "data", options);
  CHECK(server.requests() == std::vector<std::string>{"GET /values.gz"});
  check_mentions(notes.lines.back(), {"already there"});
}

TEST_CASE("a mirror may have compressed the file differently") {
  const TemporaryFolder folder;
  Publication publication(folder);
  REQUIRE(publication.compressed != publication.recompressed);
  HttpServer server;
  server.add("values.gz", {publication.recompressed});
  publication.source.mirrors = {server.url()};
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "data/made-up/values.gz") == publication.recompressed);
}

TEST_CASE("an interrupted download is resumed where it stopped") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer server;
  server.add("values.gz", {publication.compressed, true, 10000});
  publication.source.mirrors = {server.url()};
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }),
                 {"values.gz", "no mirror", server.url(), "10000 bytes are kept", "values.gz.part"});
  REQUIRE(get(folder / "data/made-up/values.gz.part") == first(publication.compressed, 10000));
  CHECK(!fs::exists(folder / "data/made-up/values.gz"));
  fetch(publication.source, folder / "data", {});
  CHECK(server.requests() == std::vector<std::string>{"GET /values.gz", "GET /values.gz from 10000"});
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
}

TEST_CASE("a part that cannot be continued is fetched anew") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer server;
  publication.source.mirrors = {server.url()};
  const fs::path part = folder / "data/made-up/values.gz.part";
  SECTION("the server knows no ranges") {
    server.add("values.gz", {publication.compressed, false});
    put(part, first(publication.compressed, 500));
  }
  SECTION("the part comes from another edition") {
    server.add("values.gz", {publication.compressed});
    put(part, first(publication.recompressed, 500));
  }
  SECTION("the part is longer than the file") {
    server.add("values.gz", {publication.compressed});
    Bytes longer = publication.compressed;
    append(longer, noise_bytes(10));
    put(part, longer);
  }
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
  CHECK(server.requests().size() == 2);
  CHECK(!fs::exists(part));
}

TEST_CASE("a part that is already whole is recognised") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer server;
  server.add("values.gz", {publication.compressed});
  publication.source.mirrors = {server.url()};
  put(folder / "data/made-up/values.gz.part", publication.compressed);
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
  CHECK(server.requests().size() == 1);
}

TEST_CASE("mirrors are tried in order: missing, wrong, unreachable, right") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer empty, wrong, right;
  Bytes altered = publication.content;
  altered.back() ^= 1;
  put_gzip(folder / "altered.gz", altered);
  wrong.add("values.gz", {get(folder / "altered.gz")});
  right.add("values.gz", {publication.compressed});
  publication.source.mirrors = {wrong.url(), "http://127.0.0.1:1/", right.url()};
  Notes notes;
  auto options = notes.options();
  options.mirrors = {empty.url().substr(0, empty.url().size() - 1)};  // a user's own, without the slash
  fetch(publication.source, folder / "data", options);
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
  CHECK(empty.requests().size() == 1);
  CHECK(wrong.requests().size() == 1);
  check_mentions(notes.all(), {"404", sha256_hex(altered), sha256_hex(publication.content), "127.0.0.1:1/values.gz"});
}

TEST_CASE("when every mirror fails, each is named with its reason and nothing wrong stays") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer empty, wrong;
  wrong.add("values.gz", {noise_bytes(100)});
  publication.source.mirrors = {empty.url(), wrong.url()};
  const std::string message = error_of([&] { fetch(publication.source, folder / "data", {}); });
  check_mentions(message,
                 {empty.url() + "values.gz", "404", wrong.url() + "values.gz", "100 uncompressed bytes", "30008"});
  CHECK(!fs::exists(folder / "data/made-up/values.gz"));
  CHECK(!fs::exists(folder / "data/made-up/values.gz.part"));
  publication.source.mirrors.clear();
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }), {"made_up", "no mirrors"});
}

TEST_CASE("a wrong file under the right name is replaced") {
  const TemporaryFolder folder;
  Publication publication(folder);
  put(folder / "mirror/values.gz", publication.compressed);
  put(folder / "data/made-up/values.gz", noise_bytes(50));
  publication.source.mirrors = {"file://" + (folder / "mirror").string()};
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
}

TEST_CASE("files of this machine are resumed too") {
  const TemporaryFolder folder;
  Publication publication(folder);
  put(folder / "mirror/values.gz", publication.compressed);
  publication.source.mirrors = {"file://" + (folder / "mirror").string() + "/"};
  const fs::path part = folder / "data/made-up/values.gz.part";
  SECTION("from a part") { put(part, first(publication.compressed, 1000)); }
  SECTION("from a whole part") { put(part, publication.compressed); }
  SECTION("from a wrong part") { put(part, noise_bytes(1000)); }
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "data/made-up/values.gz") == publication.compressed);
}

TEST_CASE("archives are checked as they are, unpacked and removed") {
  const TemporaryFolder folder;
  const Bytes train = noise_bytes(5000, 1), test = noise_bytes(700, 2);
  put_gzip(folder / "mirror/set.tar.gz",
           tar_archive({{"set/train.bin", train, '0', ""}, {"set/test.bin", test, '0', ""}}));
  const Bytes archive = get(folder / "mirror/set.tar.gz");
  Source source{"set",
                "a set",
                "set",
                {"file://" + (folder / "mirror").string() + "/"},
                {{"set.tar.gz", true, static_cast<int64_t>(archive.size()), sha256_hex(archive)}},
                {{"set/train.bin", 5000}, {"set/test.bin", 700}}};
  fetch(source, folder / "data", {});
  CHECK(get(folder / "data/set/train.bin") == train);
  CHECK(get(folder / "data/set/test.bin") == test);
  CHECK(!fs::exists(folder / "data/set.tar.gz"));

  fs::remove_all(folder / "mirror");
  Notes notes;
  fetch(source, folder / "data", notes.options());  // needs no mirror any more
  check_mentions(notes.all(), {"already in"});

  put(folder / "mirror/set.tar.gz", archive);
  fs::remove(folder / "data/set/test.bin");
  source.unpacked.push_back({"set/extra.bin", 1});
  check_mentions(error_of([&] { fetch(source, folder / "data", {}); }), {"set.tar.gz", "did not hold the expected"});
  source.files[0].sha256[0] ^= 1;
  check_mentions(error_of([&] { fetch(source, folder / "fresh", {}); }), {"SHA-256", sha256_hex(archive)});
  CHECK(!fs::exists(folder / "fresh/set"));
}

TEST_CASE("a transfer ends where it is longer than the published file can be") {
  const TemporaryFolder folder;
  Publication publication(folder);
  HttpServer server;
  server.add("values.gz", {noise_bytes(3000000)});
  publication.source.mirrors = {server.url()};
  const fs::path part = folder / "data/made-up/values.gz.part";
  const auto message = [&] { return error_of([&] { fetch(publication.source, folder / "data", {}); }); };
  SECTION("as announced") {
    check_mentions(message(), {server.url(), "gives 3000000 bytes or more, expected at most 99763"});
    CHECK(!fs::exists(part));
  }
  SECTION("as sent: a file that says nothing of its size") {
    server.add("values.gz", {noise_bytes(3000000), true, SIZE_MAX, false});
    check_mentions(message(), {"expected at most 99763"});
    CHECK(!fs::exists(part));
  }
  SECTION("what was there before is kept") {
    put(part, first(publication.compressed, 500));
    check_mentions(message(), {"expected at most 99763", "first 500 bytes are kept"});
    server.add("values.gz", {publication.compressed});
    fetch(publication.source, folder / "data", {});
    CHECK(server.requests().back() == "GET /values.gz from 500");
  }
  SECTION("a part that is too long already") {
    put(part, noise_bytes(200000));
    server.add("values.gz", {publication.compressed});
    fetch(publication.source, folder / "data", {});
    CHECK(server.requests() == std::vector<std::string>{"GET /values.gz"});
  }
}

TEST_CASE("a fetched file is not unpacked beyond the published size, and one of no possible size not read") {
  const TemporaryFolder folder;
  Bytes long_one = noise_bytes(100);
  long_one.resize(5000000);
  put_gzip(folder / "long.gz", long_one);
  const SourceFile file{"long.gz", false, 100, std::string(64, '0')};
  check_mentions(find_difference(file, folder / "long.gz").value(), {"long.gz", "more than the 100 bytes expected"});
  put(folder / "large", Bytes(100000));
  check_mentions(find_difference(file, folder / "large").value(), {"100000 bytes, expected at most 65649"});
}

TEST_CASE("a part is written to only where it is a plain file") {
  const TemporaryFolder folder;
  Publication publication(folder);
  put(folder / "mirror/values.gz", publication.compressed);
  put(folder / "victim", std::string("precious"));
  publication.source.mirrors = {"file://" + (folder / "mirror").string() + "/"};
  const fs::path target = folder / "data/made-up/values.gz", part = folder / "data/made-up/values.gz.part";
  fs::create_directories(part.parent_path());
  SECTION("not a symbolic link") { fs::create_symlink(folder / "victim", part); }
  SECTION("not a dangling one") { fs::create_symlink(folder / "absent", part); }
  SECTION("not a hard link") { fs::create_hard_link(folder / "victim", part); }
  SECTION("not a folder") { fs::create_directory(part); }
  SECTION("not a pipe") { REQUIRE(::mkfifo(part.c_str(), 0600) == 0); }
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }),
                 {part.string() + ": is not a regular file that this user owns"});
  CHECK(get(folder / "victim").size() == 8);
  CHECK(!fs::exists(folder / "absent"));
  CHECK(!fs::exists(target));
}

TEST_CASE("a part of another user is left alone") {
  if (::geteuid() != 0) return;  // only root can change a file's owner
  const TemporaryFolder folder;
  put(folder / "values.gz.part", std::string("precious"));
  REQUIRE(::chown((folder / "values.gz.part").c_str(), 65534, 65534) == 0);
  check_mentions(error_of([&] { PartFile(folder / "values.gz"); }), {"is not a regular file that this user owns"});
}

TEST_CASE("a link under the file's name is replaced, not followed; a folder is named") {
  const TemporaryFolder folder;
  Publication publication(folder);
  put(folder / "mirror/values.gz", publication.compressed);
  put(folder / "victim", std::string("precious"));
  publication.source.mirrors = {"file://" + (folder / "mirror").string() + "/"};
  const fs::path target = folder / "data/made-up/values.gz";
  fs::create_directories(target.parent_path());
  fs::create_symlink(folder / "victim", target);
  fetch(publication.source, folder / "data", {});
  CHECK(get(folder / "victim").size() == 8);
  CHECK(!fs::is_symlink(target));
  CHECK(get(target) == publication.compressed);
  fs::remove(target);
  fs::create_directory(target);
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }), {target.string(), "is a folder"});
}

TEST_CASE("a file that another program is fetching is skipped") {
  const TemporaryFolder folder;
  Publication publication(folder);
  publication.source.mirrors = {"file:///nowhere/"};
  fs::create_directories(folder / "data/made-up");
  const PartFile other(folder / "data/made-up/values.gz");
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }),
                 {"values.gz.part", "another program is fetching"});
}

TEST_CASE("folders that cannot be written are named") {
  const TemporaryFolder folder;
  Publication publication(folder);
  put(folder / "mirror/values.gz", publication.compressed);
  put(folder / "data", std::string("a file in the way"));
  publication.source.mirrors = {"file://" + (folder / "mirror").string() + "/"};
  check_mentions(error_of([&] { fetch(publication.source, folder / "data", {}); }), {(folder / "data").string()});
}

TEST_CASE("find_difference names size, hash and unreadable files") {
  const TemporaryFolder folder;
  const Bytes content = noise_bytes(100);
  put(folder / "file", content);
  SourceFile file{"file", true, 100, sha256_hex(content)};
  CHECK(!find_difference(file, folder / "file"));
  file.size = 0;  // unknown
  CHECK(!find_difference(file, folder / "file"));
  file.size = 99;
  check_mentions(find_difference(file, folder / "file").value(), {"100 bytes", "99"});
  check_mentions(find_difference(file, folder / "absent").value(), {"absent"});
}
