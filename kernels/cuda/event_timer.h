// Measures time on a CUDA device with two events on the queue's stream. Builds without CUDA never call it.
#pragma once

#include <memory>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cuda {

class EventTimer {
 public:
  explicit EventTimer(Queue& queue);
  ~EventTimer();
  EventTimer(const EventTimer&) = delete;
  EventTimer& operator=(const EventTimer&) = delete;

  void start();
  double stop();  // waits; returns the seconds that passed on the device since start()

 private:
  struct Events;
  Queue& queue_;
  std::unique_ptr<Events> events_;
};

}  // namespace noisysgd::kernels::cuda
