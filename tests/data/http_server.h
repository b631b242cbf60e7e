// A web server for tests: serves files from memory on 127.0.0.1, supports byte ranges, and can misbehave on request.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/data/bytes.h"

namespace noisysgd::testing {

class HttpServer {
 public:
  struct File {
    Bytes content;
    bool ranges = true;               // answers "Range: bytes=N-"; otherwise always sends all
    size_t hang_up_after = SIZE_MAX;  // closes the connection after so many bytes of the first answer
    bool says_size = true;            // tells the number of bytes before them
  };

  HttpServer() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    REQUIRE(socket_ >= 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(socket_, 8) == 0);
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
    thread_ = std::thread([this] { serve(); });
  }
  ~HttpServer() {
    ::shutdown(socket_, SHUT_RDWR);  // accept() returns with an error and the thread ends
    thread_.join();
    ::close(socket_);
  }
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  const std::string& url() const { return url_; }
  void add(const std::string& path, File file) {
    const std::lock_guard lock(mutex_);
    files_[path] = std::move(file);
  }
  // First lines and ranges of the requests so far: "GET /a.gz" or "GET /a.gz from 100".
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (;;) {
      const int client = ::accept(socket_, nullptr, nullptr);
      if (client < 0) return;
      answer(client);
      ::close(client);
    }
  }

  void answer(int client) {
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
      if (got <= 0) return;
      request.append(buffer, static_cast<size_t>(got));
    }
    const std::string path = request.substr(5, request.find(' ', 5) - 5);
    size_t from = 0;
    if (const auto range = request.find("Range: bytes="); range != std::string::npos)
      from = std::stoull(request.substr(range + 13));
    const std::lock_guard lock(mutex_);
    requests_.push_back("GET /" + path + (from > 0 ? " from " + std::to_string(from) : ""));
    const auto found = files_.find(path);
    if (found == files_.end()) return send_all(client, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", {});
    File& file = found->second;
    const size_t size = file.content.size();
    if (from >= size && from > 0 && file.ranges)
      return send_all(client, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n", {});
    if (!file.ranges) from = 0;
    std::string head = from > 0 ? "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " + std::to_string(from) + "-" +
                                      std::to_string(size - 1) + "/" + std::to_string(size) + "\r\n"
                                : "HTTP/1.1 200 OK\r\n";
    if (file.says_size) head += "Content-Length: " + std::to_string(size - from) + "\r\n";
    head += "Connection: close\r\n\r\n";
    const size_t sent = std::min(size - from, file.hang_up_after);
    const auto begin = file.content.begin() + static_cast<int64_t>(from);
    send_all(client, head, Bytes(begin, begin + static_cast<int64_t>(sent)));
    file.hang_up_after = SIZE_MAX;
  }

  static void send_all(int client, std::string head, const Bytes& body) {
    head.append(body.begin(), body.end());
    for (size_t done = 0; done < head.size();) {
      const ssize_t sent = ::send(client, head.data() + done, head.size() - done, MSG_NOSIGNAL);
      if (sent <= 0) return;
      done += static_cast<size_t>(sent);
    }
  }

  int socket_;
  std::string url_;
  std::mutex mutex_;
  std::map<std::string, File> files_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

}  // namespace noisysgd::testing
