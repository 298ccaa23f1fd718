#include "graphs/io/npy.h"

#include "tests/bad/bad_inputs.h"
#include "tests/io_support.h"

namespace strand::testing {
namespace {

const Parse kParse = [](std::span<const std::byte> bytes) { parse_npy(bytes, "fuzz"); };

std::string npy_file(const std::string& dictionary, const std::string& data) {
  std::string header = "\x93NUMPY";
  header += {'\x01', '\x00', static_cast<char>(dictionary.size()), '\x00'};
  return header + dictionary + data;
}

Tensor parse(const std::string& file) { return parse_npy(std::as_bytes(std::span(file)), "test.npy"); }

TEST_CASE("npy: every dtype and rank comes back bit for bit, with aligned data") {
  const TemporaryFolder folder;
  std::mt19937 random(3);
  for (const DType dtype : kEveryDType) {
    if (dtype == DType::kBFloat16) continue;
    for (const Shape& shape : some_shapes()) {
      const Tensor tensor = random_tensor(dtype, shape, random);
      CAPTURE(to_string(tensor.type()));
      CHECK(npy_header(tensor.type()).size() % 64 == 0);
      write_npy(folder / "a.npy", tensor.view());
      check_equal(read_npy(folder / "a.npy"), tensor);
      check_equal(parse_npy(npy_bytes(tensor.view()), "bytes"), tensor);
    }
  }
  CHECK(folder.files() == 1);
}

TEST_CASE("npy: the header is NumPy's, byte for byte") {
  const std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  const std::string padded = dictionary + std::string(128 - 10 - 1 - dictionary.size(), ' ') + "\n";
  CHECK(npy_header({DType::kFloat32, Shape{3}}) == npy_file(padded, ""));
  CHECK(npy_header({DType::kBool, Shape{}}).find("'|b1', 'fortran_order': False, 'shape': ()") != std::string::npos);
  CHECK(npy_header({DType::kInt8, Shape{2, 3}}).find("'|i1', 'fortran_order': False, 'shape': (2, 3)") !=
        std::string::npos);
}

TEST_CASE("npy: Fortran order becomes row-major order at every rank") {
  for (const Shape& shape : some_shapes()) {
    // Each element holds its own row-major index; the file has them with the first axis running fastest.
    const int64_t count = shape.elements();
    std::string sizes;
    for (const int64_t size : shape.sizes()) sizes += std::to_string(size) + ",";
    std::vector<int16_t> columns;
    for (int64_t i = 0; i < count; ++i) {
      int64_t rest = i;
      int64_t row_major = 0;
      for (int axis = 0; axis < shape.rank(); ++axis) {
        row_major += rest % shape[axis] * shape.elements(axis + 1, shape.rank());
        rest /= shape[axis];
      }
      columns.push_back(static_cast<int16_t>(row_major));
    }
    const std::string data(reinterpret_cast<const char*>(columns.data()), columns.size() * sizeof(int16_t));
    CAPTURE(to_string(shape));
    const Tensor tensor = parse(npy_file("{'descr':'<i2','fortran_order':True,'shape':(" + sizes + ")}", data));
    CHECK(tensor.shape() == shape);
    for (int64_t i = 0; i < count; ++i) CHECK(tensor.view().ptr<int16_t>()[i] == i);
  }
}

TEST_CASE("npy: names of one-byte types may carry either mark") {
  for (const std::string descr : {"|i1", "<i1", "|u1", "<u1", "|b1", "<b1"}) {
    CHECK(parse(npy_file("{'descr':'" + descr + "','fortran_order':False,'shape':(2,)}", "\x01\x01")).shape() ==
          Shape{2});
  }
}

TEST_CASE("npy: what can't be written leaves no file") {
  const TemporaryFolder folder;
  const Tensor brain(TensorType{DType::kBFloat16, Shape{2}});
  CHECK(
      error_text([&] { write_npy(folder / "a.npy", brain.view()); }).starts_with("UNSUPPORTED NumPy has no bfloat16"));
  CHECK(error_text([&] { write_npy(folder / "a.npy", TensorView()); }).starts_with("SHAPE"));
  CHECK(folder.files() == 0);
}

TEST_CASE("npy: malformed files are refused, each for its reason") {
  check_bad_inputs("npy_", [](const auto& path) { read_npy(path); });
}

TEST_CASE("npy: malformed files of the shared data are refused") {
  check_shared_bad_inputs("npy_", [](const auto& path) { read_npy(path); });
}

TEST_CASE("npy: every cut and random flips end in a tensor or an Error") {
  std::mt19937 random(4);
  const std::vector<std::byte> bytes = npy_bytes(random_tensor(DType::kFloat32, {3, 5}, random).view());
  std::string file(bytes.size(), '\0');
  std::memcpy(file.data(), bytes.data(), bytes.size());
  check_prefixes(file, kParse);
  check_flips(file, 20000, kParse);
  const std::string columns = npy_file("{'descr':'<i2','fortran_order':True,'shape':(2,3,)}", "abcdefghijkl");
  check_prefixes(columns, kParse);
  check_flips(columns, 20000, kParse);
}

}  // namespace
}  // namespace strand::testing
