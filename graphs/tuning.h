#pragma once
// Measured choices: which implementation was the fastest for a problem on one device, and the text file that keeps
// them. A row of the file, after the line "strand tuning 1", has five cells, separated by tabs: the device's model,
// strand's version, the layer's tuning_key, the implementation's name and its milliseconds. Plain values.

#include <filesystem>
#include <map>
#include <string>

#include "engine/device.h"

namespace strand::graphs {

struct Tuning {
  std::map<std::string, std::string, std::less<>> picks;         // an implementation by tuning key
  std::map<std::string, double, std::less<>> milliseconds = {};  // its time, by the same
};

struct TuningFile {
  Tuning tuning;  // of this device and version
  bool found = false;
  std::string note;  // why (some of) it was ignored; empty: all is well
};

// strand/tuning.txt in $XDG_CACHE_HOME, or ~/.cache; empty where neither is known.
std::filesystem::path default_tuning_path();

// Never fails: a cache that can't be read, or that holds anything but rows as above, is ignored as a whole; rows of
// other devices and versions are ignored, with a note where there are no others.
TuningFile read_tuning(const std::filesystem::path& path, Device device);

// Adds the choices, in place of older ones for the same problems. Rows of other devices stay, those of this device and
// other versions go, and so does a file that read_tuning() ignores. Makes the folder. Error(kIo) as OutputFile.
void write_tuning(const std::filesystem::path& path, Device device, const Tuning& tuning);

}  // namespace strand::graphs
