#pragma once
// Tensors that the command line names: inputs from .npy, .npz, .safetensors and audio files, outputs to them.
// "name=file", or just the file where only one input or output is meant. Plain values; tensors lie on the host.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graphs/graph.h"
#include "graphs/io/signal_file.h"
#include "graphs/io/tensor_map.h"

namespace strand::tools {

std::string join(const std::vector<std::string>& names);  // "a, b", or "none"
std::vector<std::string> output_names(const graphs::Graph& graph);

struct FileArgument {
  std::string name;  // empty: not said
  std::string path;
};

// "name=file" where the part before '=' can be no path, else a file. Error(kSchema) for a name not among `names`, which
// are those of a `what`.
FileArgument split_argument(const std::string& text, const std::vector<std::string>& names, const char* what);

// One array per name; a .npy or audio file's is called "".
TensorMap read_tensors(const std::string& path, int* rate = nullptr);

struct Inputs {
  TensorMap tensors;                                           // by input, float32
  std::map<std::string, std::unique_ptr<SignalReader>> files;  // by input: those that are left in their files
  std::map<std::string, TensorType> types;                     // by input, as the files gave them
  std::map<std::string, std::string> origins;                  // by input, for people: "call.wav, 8000 Hz"
  int rate = 0;                                                // Hz, of the last audio file; 0: none

  std::map<std::string, Shape> shapes() const;
};

// Error(kSchema) for names that the network has not, Error(kShape) for an audio file of another rate than the
// description says, and whatever reading throws. A rank of 1 or 2 is taken as [1, 1, L] or [1, C, L] where the input
// has rank 3. Inputs that no file is given for are missing from the result. With kPieces, float32 .npy files in row
// order and audio stay in `files`; the others are read all the same.
enum class Reading : uint8_t { kWhole, kPieces };
Inputs read_inputs(const graphs::Graph& graph, const std::vector<std::string>& arguments,
                   Reading reading = Reading::kWhole);

// Fails where an input was not given.
void require_all(const graphs::Graph& graph, const Inputs& inputs);

// N(0, 1) for every input that is missing, of the shape that `sizes` make.
void fill_missing(const graphs::Graph& graph, const graphs::Dimensions& sizes, uint64_t seed, Inputs& inputs);

// Where the outputs go. The constructor checks formats, names and that the files can be made, before anything is
// computed.
class OutputFiles {
 public:
  OutputFiles(const graphs::Graph& graph, const std::vector<std::string>& arguments);

  bool empty() const { return files_.empty(); }
  bool wants_rate() const;  // some output is an audio file
  bool wants_rate(const std::string& output) const;
  // Where one output goes; empty where nowhere.
  std::string target_of(const std::string& output) const;
  void write(const TensorMap& outputs, int rate) const;  // Hz, of audio files
  // What writes one output piece by piece: to its .npy and audio files. `rate` in Hz, of audio files.
  std::vector<std::unique_ptr<SignalWriter>> writers(const std::string& output, const TensorType& type, int rate) const;
  bool in_archive(const std::string& output) const;  // it goes to an .npz or .safetensors too, which are written whole
  void write_archives(const TensorMap& outputs) const;

 private:
  struct Entry {
    std::string output;  // empty: all of them
    std::string path;
  };
  static void write(const Entry& entry, const TensorMap& outputs, int rate);

  std::vector<Entry> files_;
};

}  // namespace strand::tools
