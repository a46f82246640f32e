// Files of torch.save: what PyTorch wrote is read to the bit, and what strangers wrote is refused by name.
#include "storage/torch_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "storage/safetensors.h"
#include "support/temporary_folder.h"
#include "support/zip_writer.h"

namespace magicid::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::little_endian;
using tests::TemporaryFolder;
using tests::write_bytes;
using tests::zip_bytes;
using tests::ZipEntry;
namespace fs = std::filesystem;

const fs::path kImports = fs::path(MAGICID_TEST_DATA) / "imports";

std::string refusal(const fs::path& path) {
  try {
    TorchFile::open(path);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "it was read";
}

// Opcodes, as pickletools names them.
std::string text(const std::string& value) { return "X" + little_endian(value.size(), 4) + value; }
std::string small(int value) { return "K" + std::string(1, static_cast<char>(value)); }
std::string whole(std::int64_t value) { return "\x8a\x08" + little_endian(static_cast<std::uint64_t>(value), 8); }
std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }
std::string pickle(const std::string& body) { return "\x80\x02" + body + "."; }

std::string storage(const std::string& type, const std::string& key, std::int64_t count) {
  return "(" + text("storage") + global("torch", type) + text(key) + text("cpu") + whole(count) + "tQ";
}

std::string tuple(const std::vector<std::int64_t>& values) {
  std::string body = "(";
  for (const auto value : values) body += whole(value);
  return body + "t";
}

// torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, False, OrderedDict())
std::string tensor(const std::string& stored, std::int64_t offset, const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + stored + whole(offset) + tuple(shape) + tuple(strides) + "\x89" +
         global("collections", "OrderedDict") + ")RtR";
}

std::string dictionary(const std::string& key, const std::string& value) { return "}" + text(key) + value + "s"; }

struct Archive {
  std::string body = dictionary("w", tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1}));
  std::string floats = std::string(24, '\0');

  std::vector<ZipEntry> entries() const { return {{"m/data.pkl", pickle(body)}, {"m/byteorder", "little"}, {"m/data/0", floats}, {"m/version", "3\n"}}; }
  fs::path write(const TemporaryFolder& folder) const {
    write_bytes(folder / "m.pt", zip_bytes(entries()));
    return folder / "m.pt";
  }
};

std::string refused(const std::string& body) {
  const TemporaryFolder folder;
  Archive archive;
  archive.body = body;
  return refusal(archive.write(folder));
}

TEST(TorchFile, ReadsWhatPyTorchWroteToTheBit) {
  const auto file = TorchFile::open(kImports / "transformer/tencent.pt");
  const auto other = SafetensorsFile::open(kImports / "transformer/kohya.safetensors");
  ASSERT_EQ(file.names().size(), other.names().size());
  for (const auto& name : file.names()) {
    ASSERT_TRUE(name.starts_with("module.")) << name;
    const std::string bare = name.substr(7);
    EXPECT_EQ(file.dtype(name), at::kBFloat16);
    EXPECT_EQ(file.shape(name), other.shape("model.diffusion_model." + bare));
    EXPECT_TRUE(at::equal(file.at(name), other.at("model.diffusion_model." + bare))) << name;
  }
}

TEST(TorchFile, ReadsFp8ParametersNumbersAndScriptedModules) {
  const auto fp8 = TorchFile::open(kImports / "transformer/mp_rank_00_model_states_fp8.pt");
  const auto scaled = SafetensorsFile::open(kImports / "transformer/fp8_scaled.safetensors");
  const std::string weight = "double_blocks.0.img_attn_qkv.weight";
  EXPECT_EQ(fp8.dtype("module." + weight), at::kFloat8_e4m3fn);
  EXPECT_TRUE(at::equal(fp8.at("module." + weight).to(at::kFloat), scaled.at("model.diffusion_model." + weight).to(at::kFloat)));
  EXPECT_EQ(TorchFile::open(kImports / "vae/tencent.pt").numbers().at("epoch"), 3);
  const auto llama = TorchFile::open(kImports / "llama/llava.pt");  // of nn.Parameter
  EXPECT_TRUE(at::equal(llama.at("language_model.model.norm.weight"), SafetensorsFile::open(kImports / "llama/bare.safetensors").at("norm.weight")));
  const auto scripted = TorchFile::open(kImports / "clip/openai_scripted.pt");
  const auto plain = TorchFile::open(kImports / "clip/openai.pt");
  for (const auto& name : plain.names()) EXPECT_TRUE(at::equal(scripted.at(name), plain.at(name))) << name;
}

TEST(TorchFile, StridesOffsetsAndSharedStorages) {
  const TemporaryFolder folder;
  Archive archive;
  const at::Tensor numbers = at::arange(6, at::TensorOptions(at::kFloat));
  archive.floats.assign(static_cast<const char*>(numbers.const_data_ptr()), 24);
  const std::string stored = storage("FloatStorage", "0", 6);
  archive.body = "}(" + text("turned") + tensor(stored, 0, {3, 2}, {1, 3}) + text("end") + tensor(stored, 4, {2}, {1}) + text("one") +
                 tensor(stored, 3, {}, {}) + text("none") + tensor(stored, 0, {0, 5}, {5, 1}) + "u";
  const auto file = TorchFile::open(archive.write(folder));
  EXPECT_TRUE(at::equal(file.at("turned"), numbers.view({2, 3}).t()));
  EXPECT_TRUE(file.at("turned").is_contiguous());
  EXPECT_TRUE(at::equal(file.at("end"), numbers.slice(0, 4)));
  EXPECT_EQ(file.at("one").item<float>(), 3);
  EXPECT_EQ(file.at("none").sizes(), (std::vector<std::int64_t>{0, 5}));
  EXPECT_THAT([&] { file.at("ende"); }, ::testing::ThrowsMessage<base::UserError>(HasSubstr("did you mean 'end'")));
}

TEST(TorchFile, NothingIsRunAndEveryOtherNameIsRefusedByName) {
  EXPECT_THAT(refused(global("posix", "system") + "(" + text("touch /tmp/x") + "tR"),
              AllOf(HasSubstr("m.pt"), HasSubstr("byte 2"), HasSubstr("'posix.system'")));
  EXPECT_THAT(refused(text("os") + text("system") + "\x93(" + text("id") + "tR"), HasSubstr("'os.system'"));
  EXPECT_THAT(refused(global("builtins", "eval") + "(" + text("1") + "tR"), HasSubstr("'builtins.eval'"));
  EXPECT_THAT(refused(global("torch", "load")), HasSubstr("'torch.load'"));
  EXPECT_THAT(refused(global("collections", "OrderedDict.__class__")), HasSubstr("OrderedDict.__class__"));
  EXPECT_THAT(refused("(" + global("os", "system") + "o"), HasSubstr("os.system"));
  EXPECT_THAT(refused("(" + text("x") + "ios\nsystem\n"), HasSubstr("INST"));
  EXPECT_THAT(refused("(" + text("x") + "o"), HasSubstr("OBJ"));
  EXPECT_THAT(refused(std::string("\x82\x01", 2)), HasSubstr("EXT"));
  EXPECT_THAT(refused(std::string("}})\x92", 4)), HasSubstr("NEWOBJ_EX"));
  EXPECT_THAT(refused("\x97"), HasSubstr("BUFFER"));
  EXPECT_THAT(refused("\xff"), HasSubstr("opcode 255"));
  EXPECT_THAT(refused(global("torch", "FloatStorage") + ")R"), HasSubstr("torch.FloatStorage"));
}

TEST(TorchFile, TensorsStayInTheirStorage) {
  const std::string stored = storage("FloatStorage", "0", 6);
  const auto outside = HasSubstr("outside of its storage '0'");
  EXPECT_THAT(refused(tensor(stored, 0, {7}, {1})), outside);
  EXPECT_THAT(refused(tensor(stored, 1, {6}, {1})), outside);
  EXPECT_THAT(refused(tensor(stored, 0, {2, 2}, {5, 1})), outside);
  EXPECT_THAT(refused(tensor(stored, -1, {2}, {1})), outside);
  EXPECT_THAT(refused(tensor(stored, 3, {2}, {-1})), outside);
  EXPECT_THAT(refused(tensor(stored, 0, {-1}, {1})), outside);
  EXPECT_THAT(refused(tensor(stored, 0, {std::int64_t{1} << 62, 4}, {0, 0})), outside);  // strides of zero would ask for any memory
  EXPECT_THAT(refused(tensor(stored, 0, {3}, {std::int64_t{1} << 62})), outside);
  EXPECT_THAT(refused(tensor(stored, 0, {2}, {1, 1})), HasSubstr("do not belong together"));
  EXPECT_THAT(refused(dictionary("w", tensor(storage("FloatStorage", "0", 7), 0, {7}, {1}))), AllOf(HasSubstr("24 bytes"), HasSubstr("28")));
  EXPECT_THAT(refused(dictionary("w", tensor(storage("FloatStorage", "9", 6), 0, {6}, {1}))), HasSubstr("storage '9', which the archive does not hold"));
  EXPECT_THAT(refused(tensor(storage("FloatStorage", "0", -6), 0, {1}, {1})), HasSubstr("-6"));
  EXPECT_THAT(refused(tensor(text("no storage"), 0, {1}, {1})), HasSubstr("a storage was expected"));
}

TEST(TorchFile, WantsNoMoreThanItGives) {
  // A list in itself, a list in a list a thousand times over, and dictionaries that double at each of forty levels.
  EXPECT_THAT(refused(std::string("]q\0h\0a", 6)), HasSubstr("nested too deeply"));
  std::string deep;
  for (int i = 0; i < 200000; ++i) deep += "]";
  for (int i = 1; i < 200000; ++i) deep += "a";
  EXPECT_THAT(refused(deep), HasSubstr("nested too deeply"));
  std::string laughs = std::string("]q\0", 3);
  for (int i = 1; i <= 40; ++i)
    laughs += "0](h" + std::string(1, static_cast<char>(i - 1)) + "h" + std::string(1, static_cast<char>(i - 1)) + "eq" + std::string(1, static_cast<char>(i));
  EXPECT_THAT(refused(laughs), HasSubstr("nested too deeply"));
  EXPECT_THAT(refused("X\xff\xff\xff\xff"
                      "abc"),
              HasSubstr("ends in the middle"));
  EXPECT_THAT(refused("\x8b\xff\xff\xff\xff"), HasSubstr("at most 8"));
  EXPECT_THAT(refused("r\xff\xff\xff\x7f"), HasSubstr("numbers a value"));
  EXPECT_THAT(refused(small(1) + "r\xff\xff\xff\x7f"), HasSubstr("numbers a value"));
  for (const std::string& body : std::vector<std::string>{"0", "s", "u", "t", "R", "b", "Q", "a", "e", "h\x07", "\x93", ""})
    EXPECT_THAT(refused(body), HasSubstr("m.pt")) << body;
}

TEST(TorchFile, ArchivesThatAreNotWhole) {
  const TemporaryFolder folder;
  const Archive archive;
  const fs::path path = folder / "m.pt";
  const std::string bytes = zip_bytes(archive.entries());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    write_bytes(path, bytes.substr(0, size));
    EXPECT_THAT(refusal(path), HasSubstr("m.pt")) << size;
  }
  const auto with = [&](auto change) {
    auto entries = archive.entries();
    change(entries);
    write_bytes(path, zip_bytes(entries));
    return refusal(path);
  };
  EXPECT_THAT(with([](auto& e) { e[2].method = 8; }), AllOf(HasSubstr("m/data/0"), HasSubstr("compressed")));
  EXPECT_THAT(with([](auto& e) { e[0].wrong_checksum = true; }), AllOf(HasSubstr("m/data.pkl"), HasSubstr("damaged")));
  EXPECT_THAT(with([](auto& e) { e[2].more_bytes = 1'000'000; }), HasSubstr("m/data/0"));
  EXPECT_THAT(with([](auto& e) { e[2].more_bytes = 40; }), HasSubstr("overlap"));
  EXPECT_THAT(with([](auto& e) { e.push_back(e[2]); }), HasSubstr("stands twice"));
  EXPECT_THAT(with([](auto& e) { e[1].contents = "big"; }), HasSubstr("byte order"));
  EXPECT_THAT(with([](auto& e) { e[0].name = "m/data.txt"; }), HasSubstr("data.pkl"));
  // A damaged storage is found when it is read, by its name.
  with([](auto& e) { e[2].wrong_checksum = true; });
  EXPECT_THAT([&] { TorchFile::open(path).at("w"); }, ::testing::ThrowsMessage<base::UserError>(AllOf(HasSubstr("m/data/0"), HasSubstr("damaged"))));
  // The old format begins with a number of its own.
  write_bytes(path, std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15) + "rest");
  EXPECT_THAT(refusal(path), AllOf(HasSubstr("before version 1.6"), HasSubstr("torch.save")));
  write_bytes(path, "no archive");
  EXPECT_THAT(refusal(path), HasSubstr("does not begin as a zip file"));
}

}  // namespace
}  // namespace magicid::storage
