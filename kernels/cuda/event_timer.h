// Time on a CUDA device, by two events on the queue's stream, and the name of the device. Of builds without CUDA
// nothing here is called.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/queue.h"

namespace noisysgd::kernels::cuda {

class EventTimer {
 public:
  explicit EventTimer(Queue& queue);
  ~EventTimer();
  EventTimer(const EventTimer&) = delete;
  EventTimer& operator=(const EventTimer&) = delete;

  void start();
  double stop();  // waits; seconds that passed on the device since start()

 private:
  struct Events;
  Queue& queue_;
  std::unique_ptr<Events> events_;
};

// {"gpu": …, "compute_capability": "9.0", "multiprocessors": …, "cuda_runtime": "13.0", "cuda_driver": …, "emulated":
// "yes"}
std::vector<std::pair<std::string, std::string>> describe_device(int device_index);

}  // namespace noisysgd::kernels::cuda
