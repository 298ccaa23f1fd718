#include "tools/stop_signals.h"

#include <csignal>

namespace strand::tools {
namespace {

volatile std::sig_atomic_t stop_asked = 0;  // a signal handler can reach nothing else

}  // namespace

void stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop_asked = 1; };
  // No SA_RESTART: a read that waits is to end.
  ::sigaction(SIGTERM, &action, nullptr);  // which timeout(1) sends twice, to the process and to its group
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
}

bool stopped() { return stop_asked != 0; }

}  // namespace strand::tools
