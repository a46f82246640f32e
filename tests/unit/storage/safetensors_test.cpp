#include "storage/safetensors.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/errors.h"
#include "support/temporary_folder.h"

namespace magicid::storage {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

const std::filesystem::path golden = std::filesystem::path(MAGICID_TEST_DATA) / "storage";

// The formula of tests/reference/make_storage.py.
at::Tensor formula(at::IntArrayRef shape, at::ScalarType type) {
  at::Tensor base = (at::arange(c10::multiply_integers(shape), at::kLong) * 7 + 3).remainder(31) - 15;
  if (type == at::kBool) return (base > 0).reshape(shape);
  if (type == at::kByte) base = base + 15;
  return base.to(at::kFloat).to(type).reshape(shape);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0);
}

std::string with_header(const std::string& header, const std::string& data = {}) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

class Malformed : public ::testing::Test {
 protected:
  std::string refusal(const std::string& bytes) {
    const auto path = folder_ / "bad.safetensors";
    write_bytes(path, bytes);
    try {
      SafetensorsFile::open(path);
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("bad.safetensors"));
      return error.what();
    }
    ADD_FAILURE() << "was accepted: " << bytes.substr(0, 200);
    return {};
  }
  std::string refusal_of_header(const std::string& header, std::size_t data = 0) { return refusal(with_header(header, std::string(data, '\0'))); }

  TemporaryFolder folder_;
};

TEST(Safetensors, ReadsEveryTypeOfTheReferenceWriter) {
  const auto file = SafetensorsFile::open(golden / "types.safetensors");
  const std::map<std::string, at::ScalarType> types{{"F64", at::kDouble},
                                                    {"F32", at::kFloat},
                                                    {"F16", at::kHalf},
                                                    {"BF16", at::kBFloat16},
                                                    {"I64", at::kLong},
                                                    {"I32", at::kInt},
                                                    {"I16", at::kShort},
                                                    {"I8", at::kChar},
                                                    {"U8", at::kByte},
                                                    {"BOOL", at::kBool},
                                                    {"F8_E4M3", at::kFloat8_e4m3fn},
                                                    {"F8_E5M2", at::kFloat8_e5m2}};
  EXPECT_EQ(file.names().size(), types.size());
  for (const auto& [name, type] : types) {
    EXPECT_EQ(file.dtype("type." + name), type);
    EXPECT_TRUE(same_bits(file.at("type." + name), formula({3, 5}, type))) << name;
  }
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"empty", ""}, {"text", "ü \"q\""}}));
}

TEST(Safetensors, ReadsEveryShapeOfTheReferenceWriter) {
  const auto file = SafetensorsFile::open(golden / "shapes.safetensors");
  const std::map<std::string, std::vector<std::int64_t>> shapes{
      {"scalar", {}}, {"one", {1}}, {"zero", {0, 4}}, {"zero_inside", {2, 0, 3}}, {"five", {1, 2, 3, 2, 2}}, {"odd/name with space.ü", {7}}};
  for (const auto& [name, shape] : shapes) {
    EXPECT_EQ(file.shape(name), shape);
    EXPECT_TRUE(same_bits(file.at(name), formula(shape, at::kFloat))) << name;
  }
  EXPECT_TRUE(same_bits(file.at("byte"), formula({3}, at::kByte)));
  EXPECT_TRUE(SafetensorsFile::open(golden / "empty.safetensors").names().empty());
}

TEST(Safetensors, WritesWhatTheReferenceWriterWrites) {
  // Byte for byte but for the order of the header's members, which JSON leaves open.
  TemporaryFolder folder;
  for (const char* name : {"types", "shapes", "empty"}) {
    const auto original = SafetensorsFile::open(golden / (std::string(name) + ".safetensors"));
    NamedTensors tensors;
    for (const auto& tensor : original.names()) tensors[tensor] = original.at(tensor);
    const auto path = folder / "again.safetensors";
    write_safetensors(path, tensors, original.metadata());
    const auto again = SafetensorsFile::open(path);
    EXPECT_EQ(again.names(), original.names());
    EXPECT_EQ(again.metadata(), original.metadata());
    for (const auto& tensor : original.names()) EXPECT_TRUE(same_bits(again.at(tensor), original.at(tensor))) << tensor;
    std::uint64_t header = 0;
    const std::string bytes = read_bytes(path);
    std::memcpy(&header, bytes.data(), 8);
    EXPECT_EQ(header % 8, 0u);
    EXPECT_EQ(bytes[8], '{');
  }
}

TEST(Safetensors, StridedTensorsAndNearestName) {
  TemporaryFolder folder;
  const at::Tensor whole = at::arange(24, at::kFloat).reshape({4, 6});
  write_safetensors(folder / "a.safetensors", {{"block.weight", whole.t()}, {"block.bias", whole.slice(1, 1, 5, 2)}});
  const auto file = SafetensorsFile::open(folder / "a.safetensors");
  EXPECT_TRUE(at::equal(file.at("block.weight"), whole.t()));
  EXPECT_TRUE(at::equal(file.at("block.bias"), whole.slice(1, 1, 5, 2)));
  try {
    file.at("block.wieght");
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("block.weight"));
  }
}

TEST(Safetensors, TensorsOutliveTheFileObjectAndTheFile) {
  TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {{"x", at::arange(1000, at::kLong)}});
  at::Tensor x = SafetensorsFile::open(folder / "a.safetensors").at("x");
  std::filesystem::remove(folder / "a.safetensors");
  EXPECT_TRUE(at::equal(x, at::arange(1000, at::kLong)));
}

TEST_F(Malformed, NotAFile) {
  EXPECT_THROW(SafetensorsFile::open(folder_ / "absent.safetensors"), base::UserError);
  EXPECT_THROW(SafetensorsFile::open(folder_.path()), base::UserError);
}

TEST_F(Malformed, TruncatedAtEveryLength) {
  const std::string whole = read_bytes(golden / "types.safetensors");
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(refusal(whole.substr(0, size)).empty()) << size;
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)), HasSubstr("cut off"));
  EXPECT_THAT(refusal(whole + "x"), HasSubstr("after its last tensor"));
}

TEST_F(Malformed, HeaderSize) {
  EXPECT_THAT(refusal(std::string(8, '\xff')), HasSubstr("limit"));
  EXPECT_THAT(refusal(std::string("\x01\xe1\xf5\x05\0\0\0\0", 8) + "{}"), HasSubstr("limit"));  // 100,000,001
  EXPECT_THAT(refusal(std::string("\x10\0\0\0\0\0\0\0", 8) + "{}"), HasSubstr("cut off"));
  refusal(std::string(8, '\0'));
}

TEST_F(Malformed, GitLfsPointer) {
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12345\n"), HasSubstr("git lfs pull"));
}

TEST_F(Malformed, HeaderIsNotWhatItShouldBe) {
  for (const char* header :
       {"", "{", "[]", "null", "5", "{\"a\":1}", "{\"a\":{}}", "{\"a\":[]}", "{\"a\":null}", "{} x", "{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}",
        "{\"__metadata__\":[]}", "{\"__metadata__\":{\"a\":1}}", "{\"__metadata__\":{\"a\":{}}}", "{\"\xff\":{}}",
        "{\"a\":{\"dtype\":5,\"shape\":[],\"data_offsets\":[0,0]}}", "{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0]}}", "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0,0]}}"})
    EXPECT_FALSE(refusal_of_header(header).empty());
  EXPECT_THAT(refusal_of_header(std::string(100'000, '[')), HasSubstr("not JSON"));
}

TEST_F(Malformed, DtypeShapeAndOffsets) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"tensor\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  EXPECT_THAT(refusal_of_header(entry("F33", "[1]", "[0,4]"), 4), AllOf(HasSubstr("tensor"), HasSubstr("F33")));
  EXPECT_THAT(refusal_of_header(entry("f32", "[1]", "[0,4]"), 4), HasSubstr("unknown dtype"));
  for (const char* shape : {"[-1]", "[1.0]", "[\"1\"]", "[null]", "[1e0]", "[true]"}) EXPECT_FALSE(refusal_of_header(entry("F32", shape, "[0,4]"), 4).empty());
  for (const char* offsets : {"[4,0]", "[-4,0]", "[0,4.0]", "[0,\"4\"]", "[0,3]", "[0,5]", "[1,5]", "[18446744073709551612,0]"})
    EXPECT_FALSE(refusal_of_header(entry("F32", "[1]", offsets), 4).empty());
  EXPECT_THAT(refusal_of_header(entry("F32", "[1]", "[0,8]"), 8), HasSubstr("need 4"));
  // Products that wrap around 64 bits to the right size.
  EXPECT_THAT(refusal_of_header(entry("F32", "[4611686018427387905]", "[0,4]"), 4), HasSubstr("overflow"));
  EXPECT_THAT(refusal_of_header(entry("U8", "[4294967296,4294967296]", "[0,0]")), HasSubstr("overflow"));
  EXPECT_THAT(refusal_of_header(entry("U8", "[18446744073709551615]", "[0,18446744073709551615]")), HasSubstr("overflow"));
  EXPECT_THAT(refusal_of_header(entry("U8", "[1000000000000]", "[0,1000000000000]"), 4), HasSubstr("cut off"));
  // A zero hides nothing that overflows before it.
  EXPECT_FALSE(refusal_of_header(entry("U8", "[4294967296,4294967296,0]", "[0,0]")).empty());
}

TEST_F(Malformed, OverlapGapAndDuplicates) {
  const auto two = [](const std::string& a, const std::string& b, const std::string& second = "b") {
    return "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + a + "},\"" + second + "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + b +
           "}}";
  };
  EXPECT_THAT(refusal_of_header(two("[0,4]", "[0,4]"), 4), HasSubstr("overlap"));
  EXPECT_THAT(refusal_of_header(two("[0,4]", "[2,6]"), 6), HasSubstr("overlap"));
  EXPECT_THAT(refusal_of_header(two("[0,4]", "[8,12]"), 12), HasSubstr("gap"));
  EXPECT_THAT(refusal_of_header(two("[4,8]", "[8,12]"), 12), HasSubstr("gap"));
  EXPECT_THAT(refusal_of_header(two("[0,4]", "[4,8]", "a"), 8), HasSubstr("twice"));
  EXPECT_THAT(refusal_of_header(two("[0,4]", "[4,8]", "\\u0061"), 8), HasSubstr("twice"));
}

// The reference reader refuses these; the JSON library by itself would read each as something else than stands there.
TEST_F(Malformed, HeadersThatTwoReadersReadDifferently) {
  const std::string entry = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", header = "{" + entry + "}";
  const auto path = folder_ / "padded.safetensors";
  write_bytes(path, with_header(header + "     ", "abcd"));
  EXPECT_EQ(SafetensorsFile::open(path).names(), std::vector<std::string>{"a"});

  EXPECT_THAT(refusal_of_header(header + std::string(5, '\0'), 4), AllOf(HasSubstr("NUL"), HasSubstr("only spaces")));
  EXPECT_THAT(refusal_of_header(header + '\0' + ",\"b\":1}", 4), HasSubstr("NUL"));  // a reader that stops there sees one tensor, another one none
  EXPECT_THAT(refusal_of_header("\xEF\xBB\xBF" + header, 4), HasSubstr("byte order mark"));
  for (const char* front : {" ", "\n", "\t"}) EXPECT_THAT(refusal_of_header(front + header, 4), HasSubstr("begin with '{'"));

  EXPECT_THAT(refusal_of_header("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
              AllOf(HasSubstr("'dtype' stands twice"), HasSubstr("'a'")));
  EXPECT_THAT(refusal_of_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"sh\\u0061pe\":[1],\"data_offsets\":[0,4]}}", 4), HasSubstr("'shape' stands twice"));
  EXPECT_THAT(refusal_of_header("{\"__metadata__\":{\"alpha\":\"1\",\"alpha\":\"2\"}," + entry + "}", 4),
              AllOf(HasSubstr("'alpha' stands twice"), HasSubstr("__metadata__")));
  // The same key in two tensors is how every file looks.
  write_bytes(path, with_header("{" + entry + ",\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}", "abcd"));
  EXPECT_EQ(SafetensorsFile::open(path).names().size(), 2u);
}

TEST_F(Malformed, KnownButUnsupportedTypeIsRefusedWhenRead) {
  write_bytes(folder_ / "u16.safetensors", with_header("{\"x\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[0,4]}}", "abcd"));
  const auto file = SafetensorsFile::open(folder_ / "u16.safetensors");
  EXPECT_THROW(file.at("x"), base::UserError);
}

// Any change of any byte: the file is refused, or every tensor reads within the file.
TEST_F(Malformed, Fuzz) {
  const auto path = folder_ / "fuzz.safetensors";
  std::mt19937 random(3);
  int opened = 0, refused = 0;
  for (const char* name : {"types.safetensors", "shapes.safetensors"}) {
    const std::string whole = read_bytes(golden / name);
    std::uint64_t header = 0;
    std::memcpy(&header, whole.data(), 8);
    const std::string alphabet = "0123456789-.,:[]{}\"aF\\ \n\xff";
    for (int trial = 0; trial < 3000; ++trial) {
      std::string bytes = whole;
      for (int change = 0; change <= static_cast<int>(random() % 3); ++change) {
        const std::size_t at = random() % (8 + header);
        switch (random() % 4) {
          case 0: bytes[at] = static_cast<char>(random()); break;
          case 1: bytes[at] = alphabet[random() % alphabet.size()]; break;
          case 2: bytes.erase(at, 1 + random() % 8); break;
          default: bytes.insert(at, 1, alphabet[random() % alphabet.size()]); break;
        }
      }
      write_bytes(path, bytes);
      try {
        const auto file = SafetensorsFile::open(path);
        double sum = 0;
        for (const auto& tensor : file.names()) sum += file.at(tensor).to(at::kDouble).nan_to_num().sum().item<double>();
        ++opened;
        EXPECT_TRUE(std::isfinite(sum) || std::isinf(sum));
      } catch (const base::UserError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(opened, 50);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace magicid::storage
