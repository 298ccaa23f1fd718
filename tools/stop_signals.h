#pragma once
// Being asked to stop: what there is by then is still written. For the whole process.

namespace strand::tools {

// From now on SIGINT and SIGTERM are noted. A second SIGINT ends the process, as ever.
void stop_on_signals();
bool stopped();

}  // namespace strand::tools
