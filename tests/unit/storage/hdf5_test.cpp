#include "storage/hdf5.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <limits>
#include <thread>

#include "storage/atomic_file.h"
#include "support/temporary_folder.h"
#include "support/without_rights.h"

namespace magicid::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::read_bytes;
using tests::TemporaryFolder;
using tests::write_bytes;

const Schema schema{"magicid.test", 3};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(), a.nbytes()) == 0);
}

template <class Error, class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no such error was thrown";
  return {};
}

TEST(Hdf5, EveryTypeAndShapeIsLossless) {
  TemporaryFolder folder;
  NamedTensors tensors;
  const at::Tensor bits = at::arange(65536, at::kInt).to(at::kShort);  // every pattern of 16 bits, NaNs with payloads and infinities among them
  tensors["half"] = bits.view(at::kHalf);
  tensors["bfloat16"] = bits.view(at::kBFloat16);
  tensors["float32"] = at::tensor({0.0f, -0.0f, 1e-45f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 3.4e38f});
  tensors["float64"] = at::tensor({0.1, -5e-324, 1.7e308}, at::kDouble);
  tensors["int64"] = at::tensor({std::numeric_limits<std::int64_t>::min(), std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}, at::kLong);
  tensors["int32"] = at::tensor({-5, 7}, at::kInt);
  tensors["int16"] = bits;
  tensors["int8"] = at::arange(-128, 128, at::kInt).to(at::kChar);
  tensors["uint8"] = at::arange(256, at::kInt).to(at::kByte);
  tensors["bool"] = at::tensor({1, 0, 1}, at::kInt).to(at::kBool);
  tensors["scalar"] = at::scalar_tensor(2.5, at::kFloat);
  tensors["one"] = at::ones({1});
  tensors["empty"] = at::empty({0});
  tensors["empty/inside"] = at::empty({3, 0, 2}, at::kBFloat16);
  tensors["large"] = at::arange(3 * 700 * 333, at::kFloat).reshape({3, 700, 333});  // several chunks, none of them even
  tensors["transposed.weight"] = at::arange(12, at::kDouble).reshape({3, 4}).t();
  tensors["deep/er/name"] = at::zeros({2, 2, 1, 1, 3});
  tensors.erase("empty");
  write_hdf5(folder / "a.h5", schema, [&](Hdf5Writer& out) {
    for (const auto& [name, tensor] : tensors) out.tensor("tensors/" + name, tensor);
    out.tensor("none", at::empty({0}));
    out.text("text", "ü\0 and more" + std::string(3'000'000, 'x'));
    out.text("no text", "");
    out.group("group");
    out.attribute("/", "step", std::int64_t{-7});
    out.attribute("text", "number", 0.1);
    out.attribute("group", "word", "grün");
    out.attribute("group", "nothing", "");
  });
  const auto file = Hdf5File::open(folder / "a.h5", schema);
  EXPECT_EQ(file.version(), 3);
  const auto read = file.tensors("tensors");
  EXPECT_EQ(read.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(read.contains(name)) << name;
    EXPECT_TRUE(same_bits(read.at(name), tensor)) << name;
    EXPECT_EQ(file.shape("tensors/" + name), tensor.sizes().vec()) << name;
    EXPECT_EQ(file.dtype("tensors/" + name), tensor.scalar_type());
  }
  EXPECT_EQ(file.text("text"), "ü\0 and more" + std::string(3'000'000, 'x'));
  EXPECT_EQ(file.text("no text"), "");
  EXPECT_EQ(file.tensor("none").sizes(), at::IntArrayRef({0}));
  EXPECT_EQ(file.integer_attribute("/", "step"), -7);
  EXPECT_EQ(file.number_attribute("text", "number"), 0.1);
  EXPECT_EQ(file.text_attribute("group", "word"), "grün");
  EXPECT_EQ(file.text_attribute("group", "nothing"), "");
  EXPECT_FALSE(file.has_attribute("group", "other"));
  EXPECT_TRUE(file.contains("tensors/deep/er/name"));
  EXPECT_FALSE(file.contains("tensors/absent/name"));
  EXPECT_EQ(file.names("tensors/deep"), (std::vector<std::string>{"er"}));
  file.verify();
}

TEST(Hdf5, SameContentsAreTheSameBytes) {
  TemporaryFolder folder;
  for (const char* name : {"a.h5", "b.h5"}) {
    write_hdf5(folder / name, schema, [&](Hdf5Writer& out) {
      out.tensor("x/y", at::arange(100));
      out.group("g");
    });
    if (name[0] == 'a') ::sleep(1);  // HDF5 would store the time in seconds
  }
  EXPECT_TRUE(read_bytes(folder / "a.h5") == read_bytes(folder / "b.h5"));
}

TEST(Hdf5, SchemaAndVersionAreChecked) {
  TemporaryFolder folder;
  const auto path = folder / "a.h5";
  write_hdf5(path, schema, [](Hdf5Writer&) {});
  EXPECT_EQ(Hdf5File::open(path, {"magicid.test", 5}, 2).version(), 3);
  EXPECT_THAT(message_of<ForeignFileError>([&] { Hdf5File::open(path, {"magicid.other", 3}); }),
              AllOf(HasSubstr("a.h5"), HasSubstr("magicid.test"), HasSubstr("magicid.other")));
  EXPECT_THAT(message_of<ForeignFileError>([&] { Hdf5File::open(path, {"magicid.test", 2}); }), HasSubstr("newer program"));
  EXPECT_THAT(message_of<ForeignFileError>([&] { Hdf5File::open(path, {"magicid.test", 5}, 4); }), HasSubstr("reads 4 to 5"));
  EXPECT_THAT(message_of<base::UserError>([&] { Hdf5File::open(folder / "absent.h5", schema); }), HasSubstr("no such file"));
  write_bytes(folder / "text.h5", "this is not HDF5");
  EXPECT_THAT(message_of<DamagedFileError>([&] { Hdf5File::open(folder / "text.h5", schema); }), HasSubstr("text.h5"));
  write_bytes(folder / "nothing.h5", "");
  EXPECT_THROW(Hdf5File::open(folder / "nothing.h5", schema), DamagedFileError);
}

// Set aside is what was read and is wrong. Three reasons why nothing could be read, in each reader of this room.
TEST(Hdf5, WhatCannotBeReadIsASystemErrorWithItsReason) {
  TemporaryFolder folder;
  const auto path = folder / "a.h5";
  write_hdf5(path, schema, [](Hdf5Writer& out) { out.tensor("x", at::ones({10})); });
  const auto open = [&] { Hdf5File::open(path, schema); };
  const auto read = [&] { read_text(path); };
  const auto map = [&] { SafetensorsFile::open(path); };
  EXPECT_THROW(Hdf5File::open(folder / "absent.h5", schema), MissingFileError);
  EXPECT_THROW(read_text(folder / "absent/inside"), MissingFileError);
  EXPECT_THROW(read_text(folder.path()), base::UserError);
  {
    struct rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    struct rlimit now = before;
    now.rlim_cur = 0;
    ::setrlimit(RLIMIT_NOFILE, &now);
    const std::string opened = message_of<base::SystemError>(open), text = message_of<base::SystemError>(read);
    const std::string mapped = message_of<base::SystemError>(map);
    const std::string listed = message_of<base::SystemError>([&] { list_folder(folder.path()); });
    ::setrlimit(RLIMIT_NOFILE, &before);
    for (const auto& message : {opened, text, mapped}) EXPECT_THAT(message, AllOf(HasSubstr("a.h5"), HasSubstr("Too many open files")));
    EXPECT_THAT(listed, HasSubstr("Too many open files"));
  }
  EXPECT_EQ(Hdf5File::open(path, schema).tensor("x").numel(), 10);
  // /proc gives EIO for the unmapped page 0.
  std::filesystem::create_symlink("/proc/self/mem", folder / "unreadable");
  EXPECT_THAT(message_of<base::SystemError>([&] { Hdf5File::open(folder / "unreadable", schema); }),
              AllOf(HasSubstr("unreadable"), HasSubstr("Input/output error")));
  EXPECT_THAT(message_of<base::SystemError>([&] { read_text(folder / "unreadable"); }), HasSubstr("Input/output error"));

  std::filesystem::create_directory(folder / "inside");
  std::filesystem::rename(path, folder / "inside/a.h5");
  std::filesystem::permissions(folder / "inside", std::filesystem::perms::none);
  const tests::WithoutRights nobody;
  if (!nobody.given_up()) GTEST_SKIP() << "root cannot become another user here";
  EXPECT_THAT(message_of<base::SystemError>([&] { Hdf5File::open(folder / "inside/a.h5", schema); }), HasSubstr("Permission denied"));
  EXPECT_THAT(message_of<base::SystemError>([&] { storage::exists(folder / "inside/a.h5"); }), HasSubstr("Permission denied"));
  EXPECT_FALSE(storage::exists(folder / "absent"));
  EXPECT_TRUE(list_folder(folder / "absent").empty());
}

TEST(Hdf5, MissingDatasetNamesTheNearest) {
  TemporaryFolder folder;
  write_hdf5(folder / "a.h5", schema, [&](Hdf5Writer& out) {
    out.tensor("tensors/weight", at::ones({2}));
    out.text("note", "x");
  });
  const auto file = Hdf5File::open(folder / "a.h5", schema);
  EXPECT_THAT(message_of<base::UserError>([&] { file.tensor("tensors/wieght"); }), AllOf(HasSubstr("tensors/wieght"), HasSubstr("'weight'")));
  EXPECT_THROW(file.tensor("absent/x"), base::UserError);
  EXPECT_THROW(file.tensor("note"), base::UserError);
  EXPECT_THROW(file.text("tensors/weight"), base::UserError);
  EXPECT_THROW(write_hdf5(folder / "b.h5", schema, [&](Hdf5Writer& out) { out.tensor("a//b", at::ones({1})); }), base::InvariantError);
  EXPECT_FALSE(std::filesystem::exists(folder / "b.h5"));
}

// Every bit flip is found, or leaves every value as it was (unused bytes of the format).
TEST(Hdf5, DamageIsFoundAndNothingIsPrinted) {
  TemporaryFolder folder;
  const auto path = folder / "a.h5";
  const NamedTensors tensors{{"x", at::arange(64, at::kFloat)}, {"y", at::ones({2, 3}, at::kBFloat16)}};
  write_hdf5(path, schema, [&](Hdf5Writer& out) {
    for (const auto& [name, tensor] : tensors) out.tensor(name, tensor);
    out.text("t", "hello");
  });
  const std::string whole = read_bytes(path);
  ::testing::internal::CaptureStderr();
  int found = 0;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    write_bytes(path, bytes);
    try {
      const auto file = Hdf5File::open(path, schema);
      file.verify();
      EXPECT_EQ(file.text("t"), "hello");
      for (const auto& [name, tensor] : tensors) EXPECT_TRUE(same_bits(file.tensor(name), tensor)) << "byte " << at;
    } catch (const base::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("a.h5"));
      ++found;
    }
  }
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    write_bytes(path, whole.substr(0, size));
    EXPECT_THROW(Hdf5File::open(path, schema).verify(), DamagedFileError) << size;
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_GT(found, static_cast<int>(whole.size() / 4));
}

TEST(Hdf5, FileSizeLimitIsASystemErrorAndTheLibraryGoesOn) {
  TemporaryFolder folder;
  const auto path = folder / "a.h5";
  const at::Tensor small = at::arange(10);
  write_hdf5(path, schema, [&](Hdf5Writer& out) { out.tensor("x", small); });
  struct rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  ::testing::internal::CaptureStderr();
  // From limits that break the first metadata to limits that break the last flush.
  int failed = 0;
  for (const rlim_t limit : {100u, 1000u, 3000u, 100'000u, 1'500'000u, 3'000'000u, 4'003'000u}) {
    struct rlimit now = before;
    now.rlim_cur = limit;
    ::setrlimit(RLIMIT_FSIZE, &now);
    std::string message;
    try {
      write_hdf5(path, schema, [&](Hdf5Writer& out) {
        out.tensor("big", at::zeros({1'000'000}));
        out.tensor("big/not", at::zeros({10}));
      });
    } catch (const base::SystemError& error) {
      message = error.what();
      ++failed;
    } catch (const std::exception& error) {
      ::setrlimit(RLIMIT_FSIZE, &before);
      ADD_FAILURE() << limit << ": " << error.what();
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_THAT(message, HasSubstr("a.h5")) << limit;
    EXPECT_TRUE(same_bits(Hdf5File::open(path, schema).tensor("x"), small)) << limit;  // the earlier file stands
    write_hdf5(folder / "other.h5", schema, [&](Hdf5Writer& out) { out.tensor("x", small); });
    EXPECT_TRUE(same_bits(Hdf5File::open(folder / "other.h5", schema).tensor("x"), small));
  }
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(failed, 7);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2);  // no temporary file is left
}

// HDF5's own exit handler must not touch a file that could not be written: it would end the program with a signal instead.
TEST(Hdf5DeathTest, AFailedWriteDoesNotSpoilTheExitCode) {
  TemporaryFolder folder;
  const auto fail_then_exit = [&](rlim_t limit) {
    std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit now{limit, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &now);
    try {
      write_hdf5(folder / "a.h5", schema, [&](Hdf5Writer& out) {
        for (int i = 0; i < 20; ++i) out.tensor("g" + std::to_string(i) + "/x", at::zeros({50'000}));
      });
    } catch (const base::SystemError&) {
      std::exit(3);
    }
    std::exit(0);
  };
  for (const rlim_t limit : {500u, 5000u, 1'000'000u, 4'000'000u}) EXPECT_EXIT(fail_then_exit(limit), ::testing::ExitedWithCode(3), "") << limit;
}

TEST(Hdf5, FullDisk) {
  TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=512k") != 0)
    GTEST_SKIP() << "mounting a small file system needs root; the file size limit is tested above";
  std::string message;
  {
    write_hdf5(folder / "small.h5", schema, [&](Hdf5Writer& out) { out.tensor("x", at::ones({10})); });
    message = message_of<base::SystemError>([&] { write_hdf5(folder / "big.h5", schema, [&](Hdf5Writer& out) { out.tensor("x", at::ones({1'000'000})); }); });
    EXPECT_EQ(Hdf5File::open(folder / "small.h5", schema).tensor("x").numel(), 10);
    EXPECT_FALSE(std::filesystem::exists(folder / "big.h5"));
  }
  ::umount2(folder.path().c_str(), MNT_DETACH);
  EXPECT_THAT(message, AllOf(HasSubstr("big.h5"), HasSubstr("No space left")));
}

TEST(Hdf5, ThreadsMayUseDifferentFiles) {
  TemporaryFolder folder;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const auto path = folder / (std::to_string(t) + ".h5");
        write_hdf5(path, schema, [&](Hdf5Writer& out) { out.tensor("x", at::full({1000}, t * 100 + i)); });
        EXPECT_EQ(Hdf5File::open(path, schema).tensor("x").sum().item<double>(), 1000.0 * (t * 100 + i));
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace magicid::storage
