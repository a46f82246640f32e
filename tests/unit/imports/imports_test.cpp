// Each layout in which a network is published becomes the same folder, byte for byte; tests/reference/make_imports.py wrote them with the references' own code.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "imported.h"
#include "imports/import.h"
#include "models/hunyuan_video/autoencoder.h"
#include "models/hunyuan_video/transformer.h"
#include "models/nn/network_config.h"
#include "models/text/clip_text.h"
#include "models/text/llama.h"
#include "models/vision/clip_vision.h"
#include "storage/torch_file.h"
#include "support/zip_writer.h"

namespace magicid::imports {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using tests::expect_same_bytes;
using tests::expect_same_tensors;
using tests::import_refusal;
using tests::kImports;
using tests::parsed;
using tests::read_bytes;
using tests::TemporaryFolder;
namespace fs = std::filesystem;
namespace hv = models::hunyuan_video;

ImportOptions with_config(const std::string& network, const std::string& kind = "auto") {
  ImportOptions options;
  options.kind = kind;
  options.config = kImports / network / "config.json";
  return options;
}

TEST(Import, EachLayoutOfTheTransformerGivesTheSameBytes) {
  const fs::path from = kImports / "transformer";
  std::string bytes;
  for (const std::string source : {"tencent.pt", "kohya.safetensors", "comfyui.safetensors", "expected.safetensors"}) {
    SCOPED_TRACE(source);
    const TemporaryFolder folder;
    const std::string told = import_weights(from / source, folder / "out", {});
    EXPECT_THAT(told, AllOf(HasSubstr("hunyuanvideo-transformer"), HasSubstr("rope_theta 256")));
    expect_same_tensors(folder / "out/diffusion_pytorch_model.safetensors", from / "expected.safetensors");
    expect_same_bytes(folder / "out/diffusion_pytorch_model.safetensors", bytes);
    // Everything that shapes tell is as diffusers wrote it.
    const auto config = parsed(folder / "out/config.json"), expected = parsed(from / "config.json");
    for (const auto& [key, value] : config.items()) EXPECT_EQ(value, expected.value(key, nlohmann::json())) << key;
    hv::Transformer::load(folder / "out", {});
  }
}

TEST(Import, Fp8WeightsAreReadWithTheirScalesOrNotAtAll) {
  const fs::path from = kImports / "transformer";
  const TemporaryFolder folder;
  import_weights(from / "fp8_values.safetensors", folder / "values", {});
  const std::string values = read_bytes(folder / "values/diffusion_pytorch_model.safetensors");
  EXPECT_THAT(import_weights(from / "mp_rank_00_model_states_fp8.pt", folder / "tencent", {}), AllOf(HasSubstr("_map.pt"), HasSubstr("bf16")));
  EXPECT_EQ(read_bytes(folder / "tencent/diffusion_pytorch_model.safetensors"), values);
  EXPECT_THAT(import_weights(from / "fp8_scaled.safetensors", folder / "comfyui", {}), HasSubstr("multiplied by their scales"));
  EXPECT_EQ(read_bytes(folder / "comfyui/diffusion_pytorch_model.safetensors"), values);

  // A plain cast keeps its bytes, and loads as the values that they are.
  import_weights(from / "fp8_plain.safetensors", folder / "plain", {});
  const auto plain = storage::SafetensorsFile::open(folder / "plain/diffusion_pytorch_model.safetensors");
  const auto source = storage::SafetensorsFile::open(from / "fp8_plain.safetensors");
  const std::string fc1 = "transformer_blocks.0.ff.net.0.proj.weight";
  EXPECT_EQ(plain.dtype(fc1), at::kFloat8_e4m3fn);
  EXPECT_TRUE(at::equal(plain.at(fc1).to(at::kFloat), source.at("double_blocks.0.img_mlp.fc1.weight").to(at::kFloat)));
  hv::Transformer::load(folder / "plain", {});

  // Tencent's file without its map, under its own name and another.
  fs::copy_file(from / "mp_rank_00_model_states_fp8.pt", folder / "mp_rank_00_model_states_fp8.pt");
  EXPECT_THAT(import_refusal(folder / "mp_rank_00_model_states_fp8.pt"), HasSubstr("mp_rank_00_model_states_fp8_map.pt"));
  fs::copy_file(from / "mp_rank_00_model_states_fp8.pt", folder / "renamed.pt");
  EXPECT_THAT(import_refusal(folder / "renamed.pt"), AllOf(HasSubstr("renamed.pt"), HasSubstr("448"), HasSubstr("scale")));
  // The map of another network.
  fs::copy_file(kImports / "vae/tencent.pt", folder / "renamed_map.pt");
  EXPECT_THAT(import_refusal(folder / "renamed.pt"), AllOf(HasSubstr("renamed_map.pt"), HasSubstr("belong together")));
}

TEST(Import, AFolderOfScaledWeightsIsNeverReadWithoutThem) {
  // The fault: a folder with rescaled fp8 weights was read as if they were plain.
  const fs::path from = kImports / "transformer";
  const TemporaryFolder folder;
  fs::create_directories(folder / "marked");
  fs::copy_file(from / "fp8_scaled.safetensors", folder / "marked/model.safetensors");
  fs::copy_file(from / "config.json", folder / "marked/config.json");
  const auto load = [](const fs::path& path) {
    try {
      hv::Transformer::load(path, {});
    } catch (const base::UserError& error) {
      return std::string(error.what());
    }
    return std::string("it was loaded");
  };
  EXPECT_THAT(load(folder / "marked"), AllOf(HasSubstr("scale"), HasSubstr("magicid import")));
  // Without any mark the values themselves tell.
  storage::NamedTensors bare;
  const auto states = storage::TorchFile::open(from / "mp_rank_00_model_states_fp8.pt");
  for (const auto& name : states.names()) bare[name.substr(7)] = states.at(name);
  fs::create_directories(folder / "bare");
  storage::write_safetensors(folder / "bare/model.safetensors", bare);
  fs::copy_file(from / "config.json", folder / "bare/config.json");
  EXPECT_THAT(load(folder / "bare"), AllOf(HasSubstr("448"), HasSubstr("double_blocks.0"), HasSubstr("scale")));
}

TEST(Import, ScalesThatAreNotKnownAreRefusedByName) {
  const TemporaryFolder folder;
  const auto refusal = [&](storage::NamedTensors tensors) {
    storage::write_safetensors(folder / "x.safetensors", tensors);
    return import_refusal(folder / "x.safetensors");
  };
  const at::Tensor weight = at::zeros({4, 2}, at::kFloat8_e4m3fn);
  const auto mark = [](const std::string& json) {
    at::Tensor bytes = at::empty({static_cast<std::int64_t>(json.size())}, at::kByte);
    std::copy(json.begin(), json.end(), static_cast<char*>(bytes.data_ptr()));
    return bytes;
  };
  EXPECT_THAT(refusal({{"a.weight", weight}, {"a.comfy_quant", mark(R"({"format": "nvfp4"})")}}), AllOf(HasSubstr("a.comfy_quant"), HasSubstr("nvfp4")));
  EXPECT_THAT(refusal({{"a.weight", weight}, {"a.comfy_quant", mark("{}")}}), HasSubstr("unreadable"));
  EXPECT_THAT(refusal({{"a.weight", weight}, {"a.weight_scale_inv", at::zeros({1})}}), HasSubstr("a.weight_scale_inv"));
  EXPECT_THAT(refusal({{"a.weight", weight}, {"a.scale_weight", at::zeros({2, 2})}}), HasSubstr("4 scales"));
  EXPECT_THAT(refusal({{"a.weight", weight}, {"a.scale_weight", at::zeros({3})}}), HasSubstr("3 scales"));
  EXPECT_THAT(refusal({{"a.scale_weight", at::zeros({1})}}), HasSubstr("no 'a.weight'"));
  EXPECT_THAT(refusal({{"a.weight", at::zeros({4, 2}, at::kChar)}, {"a.weight_scale", at::zeros({4})}}), HasSubstr("Char"));
}

TEST(Import, EachLayoutOfTheAutoencoderGivesTheSameBytes) {
  const fs::path from = kImports / "vae";
  std::string bytes;
  for (const std::string source : {"tencent.pt", "comfyui.safetensors", "expected.safetensors"}) {
    SCOPED_TRACE(source);
    const TemporaryFolder folder;
    import_weights(from / source, folder / "out", with_config("vae", "hunyuanvideo-vae"));
    expect_same_tensors(folder / "out/diffusion_pytorch_model.safetensors", from / "expected.safetensors");
    expect_same_bytes(folder / "out/diffusion_pytorch_model.safetensors", bytes);
    hv::Autoencoder::load(folder / "out", {});
    import_weights(folder / "out", folder / "again", {});  // a folder brings its config.json
    expect_same_bytes(folder / "again/diffusion_pytorch_model.safetensors", bytes);
  }
}

TEST(Import, EachLayoutOfLlamaGivesTheSameBytes) {
  const fs::path from = kImports / "llama";
  std::string bytes;
  for (const std::string source : {"bare.safetensors", "comfyui.safetensors", "llava.pt", "expected.safetensors"}) {
    SCOPED_TRACE(source);
    const TemporaryFolder folder;
    import_weights(from / source, folder / "out", with_config("llama"));
    expect_same_tensors(folder / "out/model.safetensors", from / "bare.safetensors", "model.");
    expect_same_bytes(folder / "out/model.safetensors", bytes);
    models::text::LlamaEncoder::load(folder / "out", {}, 0);
  }
}

TEST(Import, EachLayoutOfClipGivesTheSameBytes) {
  const fs::path from = kImports / "clip";
  std::string bytes;
  for (const std::string source : {"openai.pt", "openai_scripted.pt", "expected.safetensors"}) {
    SCOPED_TRACE(source);
    const TemporaryFolder folder;
    EXPECT_THAT(import_weights(from / source, folder / "out", with_config("clip")), HasSubstr("(clip)"));
    expect_same_tensors(folder / "out/model.safetensors", from / "expected.safetensors");
    expect_same_bytes(folder / "out/model.safetensors", bytes);
    models::text::ClipTextEncoder::load(folder / "out", {});
    models::vision::ClipVision::load(folder / "out", {});
  }
}

TEST(Import, AHalfOfClipByItself) {
  const fs::path from = kImports / "clip";
  const TemporaryFolder folder;
  const auto whole = parsed(from / "config.json");
  auto text = whole["text_config"];
  text["model_type"] = "clip_text_model";
  text["projection_dim"] = whole["projection_dim"];
  storage::write_text_atomically(folder / "text.json", text.dump());
  auto vision = whole["vision_config"];
  vision["model_type"] = "clip_vision_model";
  vision["projection_dim"] = whole["projection_dim"];
  storage::write_text_atomically(folder / "vision.json", vision.dump());

  const auto import_half = [&](const std::string& source, const std::string& kind, const std::string& config, const std::string& out) {
    ImportOptions options;
    options.kind = kind;
    options.config = folder / config;
    import_weights(from / source, folder / out, options);
    return read_bytes(folder / out / "model.safetensors");
  };
  const std::string bare = import_half("text_bare.safetensors", "auto", "text.json", "a");
  EXPECT_EQ(import_half("text_comfyui.safetensors", "auto", "text.json", "b"), bare);
  EXPECT_FALSE(models::text::ClipTextEncoder::load(folder / "a", {}).has_projection());
  const std::string from_openai = import_half("openai.pt", "clip-text", "text.json", "c");
  EXPECT_EQ(import_half("expected.safetensors", "clip-text", "text.json", "d"), from_openai);
  EXPECT_TRUE(models::text::ClipTextEncoder::load(folder / "c", {}).has_projection());
  const std::string image = import_half("openai.pt", "clip-image", "vision.json", "e");
  EXPECT_EQ(import_half("expected.safetensors", "clip-image", "vision.json", "f"), image);
  EXPECT_TRUE(fs::exists(folder / "e/preprocessor_config.json"));
}

TEST(Import, WritesShardsAndTheirIndex) {
  const TemporaryFolder folder;
  ImportOptions options;
  options.shard = 60'000;
  import_weights(kImports / "transformer/tencent.pt", folder / "out", options);
  const auto index = parsed(folder / "out/diffusion_pytorch_model.safetensors.index.json");
  const auto expected = storage::SafetensorsFile::open(kImports / "transformer/expected.safetensors");
  EXPECT_EQ(index["weight_map"].size(), expected.names().size());
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder / "out")) files += entry.path().extension() == ".safetensors";
  EXPECT_GE(files, 3u);
  const auto whole = hv::Transformer::load(folder / "out", {});
  import_weights(folder / "out", folder / "again", {});  // a sharded folder is a source like any other
  expect_same_tensors(folder / "again/diffusion_pytorch_model.safetensors", kImports / "transformer/expected.safetensors");
}

TEST(Import, ListsAllThatIsMissingSurplusOrOfAnotherShapeAndWritesNothing) {
  const TemporaryFolder folder;
  const auto file = storage::SafetensorsFile::open(kImports / "transformer/kohya.safetensors");
  storage::NamedTensors tensors;
  for (const auto& name : file.names()) tensors[name] = file.at(name);
  const std::string prefix = "model.diffusion_model.";
  tensors.erase(prefix + "double_blocks.0.img_attn_qkv.bias");
  tensors.erase(prefix + "final_layer.linear.bias");
  tensors[prefix + "single_blocks.0.linear2.bias"] = at::zeros({7});
  tensors[prefix + "teacache.weight"] = at::zeros({1});
  storage::write_safetensors(folder / "broken.safetensors", tensors);
  const fs::path out = folder / "out";
  try {
    import_weights(folder / "broken.safetensors", out, {});
    FAIL() << "it was imported";
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("2 missing"), HasSubstr("double_blocks.0.img_attn_qkv.bias"), HasSubstr("final_layer.linear.bias"),
                                    HasSubstr("1 of another shape"), HasSubstr("single_blocks.0.linear2.bias: shape [7], expected [32]"),
                                    HasSubstr("1 surplus"), HasSubstr("teacache.weight"), HasSubstr("--drop-surplus")));
  }
  EXPECT_FALSE(fs::exists(out));
}

TEST(Import, SurplusIsLeftOutWhenAskedAndOtherNetworksBesideItAreNot) {
  const TemporaryFolder folder;
  const auto file = storage::SafetensorsFile::open(kImports / "transformer/kohya.safetensors");
  storage::NamedTensors tensors;
  for (const auto& name : file.names()) tensors[name] = file.at(name);
  tensors["first_stage_model.x"] = at::zeros({1});
  storage::write_safetensors(folder / "beside.safetensors", tensors);
  import_weights(folder / "beside.safetensors", folder / "a", {});
  tensors["model.diffusion_model.x"] = at::zeros({1});
  storage::write_safetensors(folder / "surplus.safetensors", tensors);
  ImportOptions drop;
  drop.drop_surplus = true;
  EXPECT_THAT(import_weights(folder / "surplus.safetensors", folder / "b", drop), HasSubstr("model.diffusion_model.x"));
  EXPECT_EQ(read_bytes(folder / "b/diffusion_pytorch_model.safetensors"), read_bytes(folder / "a/diffusion_pytorch_model.safetensors"));
}

TEST(Import, RefusesWhatItCannotBeAskedFor) {
  const TemporaryFolder folder;
  import_weights(kImports / "transformer/tencent.pt", folder / "out", {});
  EXPECT_THAT([&] { import_weights(kImports / "transformer/tencent.pt", folder / "out", {}); },
              ::testing::ThrowsMessage<base::UserError>(HasSubstr("already")));
  EXPECT_THAT(import_refusal(folder / "absent.pt"), HasSubstr("no such file"));
  ImportOptions vae;
  vae.kind = "hunyuanvideo-vae";
  EXPECT_THAT(import_refusal(kImports / "transformer/tencent.pt", vae), AllOf(HasSubstr("no hunyuanvideo-vae"), HasSubstr("magicid inspect")));
  tests::write_bytes(folder / "model.gguf", std::string("GGUF\3\0\0\0rest of it", 18));
  EXPECT_THAT(import_refusal(folder / "model.gguf"), HasSubstr("GGUF"));
  fs::create_directories(folder / "empty");
  EXPECT_THAT(import_refusal(folder / "empty"), HasSubstr("no weights"));
  storage::write_safetensors(folder / "unknown.safetensors", {{"a", at::zeros({1})}});
  EXPECT_THAT(import_refusal(folder / "unknown.safetensors"), AllOf(HasSubstr("1 tensors"), HasSubstr("arcface")));
  // A head size for which no share of frames, height and width is known.
  EXPECT_THAT(import_refusal(kImports / "llama/bare.safetensors"), HasSubstr("--config"));
}

TEST(Inspect, SaysWhatItIsAndWhatToDo) {
  const auto one = [](const fs::path& path) { return inspect(path).at(0); };
  const auto tencent = one(kImports / "transformer/tencent.pt");
  EXPECT_TRUE(tencent.complete());
  EXPECT_EQ(tencent.prefix, "module.");
  EXPECT_EQ(tencent.dtypes.at("BFloat16"), tencent.names.size());
  EXPECT_EQ(tencent.command(), "magicid import " + (kImports / "transformer/tencent.pt").string() + " --as hunyuanvideo-transformer OUT");
  EXPECT_THAT(as_text(tencent),
              AllOf(HasSubstr("HunyuanVideo's transformer"), HasSubstr("Tencent's names"), HasSubstr("torch.save"), HasSubstr("make it usable")));
  const auto json = as_json(tencent);
  EXPECT_EQ(json["kind"], "hunyuanvideo-transformer");
  EXPECT_EQ(json["config"]["num_layers"], 1);
  EXPECT_EQ(json["complete"], true);

  const TemporaryFolder folder;
  import_weights(kImports / "transformer/tencent.pt", folder / "out", {});
  const auto ready = one(folder / "out");
  EXPECT_TRUE(ready.ready);
  EXPECT_THAT(as_text(ready), AllOf(HasSubstr("used as it is"), Not(HasSubstr("magicid import"))));

  storage::write_safetensors(folder / "unknown.safetensors", {{"some.tensor", at::zeros({2})}});
  EXPECT_THAT(as_text(one(folder / "unknown.safetensors")), AllOf(HasSubstr("no network that this program knows"), HasSubstr("some.tensor")));
  EXPECT_THAT(as_text(one(kImports / "llama/bare.safetensors")), AllOf(HasSubstr("(llama)"), HasSubstr("--config")));
  fs::copy_file(kImports / "transformer/mp_rank_00_model_states_fp8.pt", folder / "mp_rank_00_model_states_fp8.pt");
  EXPECT_THAT(as_text(one(folder / "mp_rank_00_model_states_fp8.pt")), HasSubstr("_map.pt"));
}

}  // namespace
}  // namespace magicid::imports
