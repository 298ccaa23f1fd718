#include "tools/stop_signals.h"

#include <csignal>
#include <initializer_list>

namespace strand::tools {
namespace {

volatile std::sig_atomic_t stop_asked = 0;  // a signal handler can reach nothing else

}  // namespace

void stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop_asked = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // no SA_RESTART: a read that waits is to end
  for (const int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
}

bool stopped() { return stop_asked != 0; }

}  // namespace strand::tools
