// `magicid probe`, `tokenize` and `sample` against diffusers, transformers and torchvision (tests/reference/make_pipeline.py), through files
// and the command line, as a user compares converted weights.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "end_to_end/program.h"
#include "media/video.h"
#include "storage/safetensors.h"
#include "support/formula_weights.h"
#include "unit/models/vision/smooth_images.h"

namespace magicid {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using storage::NamedTensors;
using storage::SafetensorsFile;
using ::testing::HasSubstr;
using tests::formula_tensor;
using tests::formula_tensors;
using tests::read_json;
using tests::relative_error;
using tests::run_program;
using tests::TemporaryFolder;
using Arguments = std::vector<std::string>;

const fs::path data = fs::path(MAGICID_TEST_DATA);

at::Tensor expected(const std::string& name) { return SafetensorsFile::open(data / "pipeline" / "expected.safetensors").at(name); }
json cases() { return read_json(data / "pipeline" / "cases.json"); }

// formula_tensor with variance 1, as make_pipeline.py's unit_input.
at::Tensor unit_input(const std::string& name, const std::vector<std::int64_t>& shape) {
  double fan_in = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) fan_in *= static_cast<double>(shape[d]);
  return formula_tensor(name, shape) * std::sqrt(fan_in);
}

void write_json(const fs::path& path, const json& value) { std::ofstream(path) << value.dump(1) << "\n"; }

enum class KeyStyle { current, old };

// The pipeline of make_pipeline.py, made again. `old`: text encoders as transformers 4 wrote them, their keys below "model." and "text_model.",
// the configuration with rope_theta at its top and an older class.
void write_pipeline(const fs::path& folder, KeyStyle style) {
  fs::copy(data / "pipeline" / "folder", folder, fs::copy_options::recursive);
  fs::copy(data / "tokenizers" / "llama3", folder / "tokenizer");
  fs::copy(data / "tokenizers" / "clip_files", folder / "tokenizer_2");
  const json shapes = read_json(data / "pipeline" / "shapes.json");
  storage::write_safetensors(folder / "vae" / "diffusion_pytorch_model.safetensors", formula_tensors(shapes["vae"]), {{"format", "pt"}});
  std::map<std::string, NamedTensors> shards;
  const json index = read_json(folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json");
  const NamedTensors transformer = formula_tensors(shapes["transformer"]);
  for (const auto& [key, file] : index["weight_map"].items()) shards[file.get<std::string>()][key] = transformer.at(key);
  for (const auto& [file, tensors] : shards) storage::write_safetensors(folder / "transformer" / file, tensors, {{"format", "pt"}});
  for (const auto& [network, prefix] : {std::pair<std::string, std::string>{"text_encoder", "model."}, {"text_encoder_2", "text_model."}}) {
    NamedTensors tensors;
    for (const auto& [key, shape] : shapes[network].items()) {
      const std::string plain = key.starts_with(prefix) ? key.substr(prefix.size()) : key;
      tensors[style == KeyStyle::old ? prefix + plain : key] = formula_tensor(plain, shape.get<std::vector<std::int64_t>>());
    }
    storage::write_safetensors(folder / network / "model.safetensors", tensors, {{"format", "pt"}});
  }
  if (style == KeyStyle::old) {
    json config = read_json(folder / "text_encoder" / "config.json");
    config["rope_theta"] = config["rope_parameters"]["rope_theta"];
    config["architectures"] = {"LlamaForCausalLM"};
    for (const char* key : {"rope_parameters", "head_dim", "dtype"}) config.erase(key);
    write_json(folder / "text_encoder" / "config.json", config);
    json clip = read_json(folder / "text_encoder_2" / "config.json");
    clip["eos_token_id"] = 2;  // what openai's own file says; the pooled position is then the largest id's
    write_json(folder / "text_encoder_2" / "config.json", clip);
  }
}

class Parity : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shared_ = std::make_unique<TemporaryFolder>();
    write_pipeline(*shared_ / "model", KeyStyle::current);
    write_pipeline(*shared_ / "old", KeyStyle::old);
    write_json(*shared_ / "template.json", cases()["template"]);
    write_adapter(*shared_ / "adapter.safetensors");
  }
  static void TearDownTestSuite() { shared_.reset(); }

  static void write_adapter(const fs::path& path) {
    const json adapter = cases()["adapter"];
    NamedTensors tensors;
    for (const auto& [key, shape] : adapter["keys"].items())
      tensors[key] = formula_tensor(key, shape.get<std::vector<std::int64_t>>()) * (key.find(".lora_B.") != std::string::npos ? 0.3 : 1.0);
    storage::write_safetensors(path, tensors, adapter["metadata"].get<std::map<std::string, std::string>>());
  }

  static std::string model(const std::string& name = "model") { return (*shared_ / name).string(); }

  NamedTensors probe(const std::string& network, const std::string& folder, const NamedTensors& inputs, const Arguments& more = {}) {
    const std::string in = (folder_ / "in.safetensors").string(), out = (folder_ / "out.safetensors").string();
    fs::remove(out);
    storage::write_safetensors(in, inputs);
    Arguments arguments{"probe", network, "--model", folder, "--inputs", in, "--outputs", out};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_program(arguments);
    if (result.exit_code != 0) {
      ADD_FAILURE() << result.text();
      return {};
    }
    NamedTensors tensors;
    const auto file = SafetensorsFile::open(out);
    for (const auto& name : file.names()) tensors[name] = file.at(name).clone();
    return tensors;
  }

  static void agrees(const std::string& what, const NamedTensors& actual, const std::string& name, const at::Tensor& reference, double limit = 1e-4) {
    ASSERT_TRUE(actual.contains(name)) << what << " gave no '" << name << "'";
    const double error = relative_error(actual.at(name), reference);
    std::printf("%s relative error %.2e\n", what.c_str(), error);
    EXPECT_LE(error, limit) << what;
  }

  // The arguments that a case of make_pipeline.py stands for.
  Arguments sample_arguments(const std::string& name, const json& spec, const std::string& folder) {
    const auto text = [&](const char* key) { return spec[key].get<std::string>(); };
    const auto number = [&](const char* key) { return spec[key].dump(); };
    const std::string noise = (folder_ / "noise.safetensors").string();
    storage::write_safetensors(noise, {{"latents", unit_input("latents." + name, spec["latent_shape"].get<std::vector<std::int64_t>>())}});
    Arguments arguments{"sample",
                        "--model",
                        folder,
                        "--prompt",
                        text("prompt"),
                        "--height",
                        number("height"),
                        "--width",
                        number("width"),
                        "--frames",
                        number("frames"),
                        "--steps",
                        "4",
                        "--guidance",
                        number("guidance"),
                        "--max-length",
                        number("max_length"),
                        "--initial-latents",
                        noise,
                        "--latents-out",
                        (folder_ / "latents.safetensors").string(),
                        "--frames-out",
                        (folder_ / "frames.safetensors").string(),
                        "--output",
                        (folder_ / "out.mp4").string()};
    const auto add = [&](const Arguments& more) { arguments.insert(arguments.end(), more.begin(), more.end()); };
    if (spec["template"].get<bool>()) add({"--template-file", (*shared_ / "template.json").string()});
    if (spec.contains("shift")) add({"--shift", number("shift")});
    if (spec.contains("true_cfg")) add({"--true-cfg", number("true_cfg"), "--negative-prompt", text("negative_prompt")});
    if (spec.contains("adapter")) add({"--adapter", (*shared_ / "adapter.safetensors").string()});
    return arguments;
  }

  void sample_agrees(const std::string& name, const std::string& folder) {
    SCOPED_TRACE(name);
    const json spec = cases()["cases"][name];
    const auto result = run_program(sample_arguments(name, spec, folder));
    ASSERT_EQ(result.exit_code, 0) << result.text();
    // A prompt that is cut is told of, and no other.
    EXPECT_EQ(result.err.find("warning the prompt is too long") != std::string::npos, spec.value("cut", false)) << result.text();
    for (const char* kind : {"latents", "frames"})
      agrees("sample " + name + " " + kind, {{kind, SafetensorsFile::open(folder_ / (std::string(kind) + ".safetensors")).at(kind)}}, kind,
             expected(name + "." + kind));
    const auto video = media::read_video(folder_ / "out.mp4");
    EXPECT_EQ(video.frames.size(0), spec["frames"].get<std::int64_t>());
    EXPECT_EQ(video.frames.size(2), spec["height"].get<std::int64_t>());
    EXPECT_EQ(video.frames.size(3), spec["width"].get<std::int64_t>());
    EXPECT_EQ(video.fps, 24);
  }

  void refused(const Arguments& arguments, const Arguments& words) {
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.text();
    for (const auto& word : words) EXPECT_THAT(result.err, HasSubstr(word));
  }

  TemporaryFolder folder_;
  static std::unique_ptr<TemporaryFolder> shared_;
};
std::unique_ptr<TemporaryFolder> Parity::shared_;

NamedTensors transformer_inputs(at::ScalarType mask_type, at::ScalarType time_type) {
  const at::Tensor mask = at::zeros({2, 7});
  mask[0].fill_(1);
  mask[1].slice(0, 0, 3).fill_(1);
  return {{"hidden_states", unit_input("hidden_states", {2, 4, 3, 4, 6})},
          {"encoder_hidden_states", unit_input("encoder_hidden_states", {2, 7, 24})},
          {"pooled_projections", unit_input("pooled_projections", {2, 20})},
          {"timestep", at::tensor({999, 417}, at::kInt).to(time_type)},
          {"guidance", at::tensor({6000.0f, 1000.0f})},
          {"encoder_attention_mask", mask.to(mask_type)}};
}

TEST_F(Parity, ProbeTransformer) {
  for (const auto mask : {at::kBool, at::kLong, at::kFloat})
    for (const auto time : {at::kLong, at::kFloat})
      agrees("transformer, mask " + std::string(c10::toString(mask)) + ", timestep " + c10::toString(time),
             probe("transformer", model(), transformer_inputs(mask, time)), "sample", expected("transformer.sample"));
  // The network's own folder does as well as the pipeline's.
  agrees("transformer by its folder", probe("transformer", model() + "/transformer", transformer_inputs(at::kLong, at::kFloat)), "sample",
         expected("transformer.sample"));
}

TEST_F(Parity, ProbeAutoencoder) {
  const auto encoded = probe("vae-encode", model(), {{"sample", unit_input("vae.sample", {1, 3, 17, 16, 32})}});
  agrees("vae-encode mean", encoded, "mean", expected("vae.mean"));
  agrees("vae-encode logvar", encoded, "logvar", expected("vae.logvar"));
  const NamedTensors latents{{"latents", unit_input("vae.latents", {1, 4, 5, 2, 4})}};
  agrees("vae-decode", probe("vae-decode", model(), latents), "sample", expected("vae.decoded"));
  // 17 frames are where the tiles begin: without them the answer is another one.
  const auto whole = probe("vae-decode", model(), latents, {"--no-framewise"});
  ASSERT_TRUE(whole.contains("sample"));
  EXPECT_GT(relative_error(whole.at("sample"), expected("vae.decoded")), 1e-3);
}

TEST_F(Parity, ProbeClipText) {
  for (const char* folder : {"model", "old"}) {
    const auto out = probe("clip-text", model(folder), {{"input_ids", expected("clip.input_ids")}});
    agrees(std::string("clip-text ") + folder + " pooler_output", out, "pooler_output", expected("clip.pooler_output"));
    agrees(std::string("clip-text ") + folder + " last_hidden_state", out, "last_hidden_state", expected("clip.last_hidden_state"));
  }
}

TEST_F(Parity, ProbeRewardNetworks) {
  const auto write = [&](const fs::path& folder, const json& config, const NamedTensors& tensors) {
    fs::create_directories(folder);
    write_json(folder / "config.json", config);
    storage::write_safetensors(folder / "model.safetensors", tensors);
  };
  const json clip = read_json(data / "clip_vision" / "cases.json")["cases"]["quick_gelu"];
  write(folder_ / "clip", clip["config"], formula_tensors(read_json(data / "clip_vision" / "quick_gelu.shapes.json")));
  agrees("clip-image", probe("clip-image", (folder_ / "clip").string(), {{"pixel_values", tests::smooth_images("clip.quick_gelu", clip["batch"], 32, 32, 11)}}),
         "image_embeds", SafetensorsFile::open(data / "clip_vision" / "outputs.safetensors").at("quick_gelu"));

  const std::string face = "mobilefacenet_112x112";
  const json arcface = read_json(data / "arcface" / "cases.json")["cases"][face];
  write(folder_ / "arcface", {{"architecture", arcface["architecture"]}, {"embedding_size", arcface["embedding_size"]}},
        formula_tensors(read_json(data / "arcface" / (face + ".shapes.json"))));
  agrees("arcface", probe("arcface", (folder_ / "arcface").string(), {{"input", tests::smooth_images("arcface." + face, arcface["batch"], 112, 112, 9)}}),
         "embedding", SafetensorsFile::open(data / "arcface" / "embeddings.safetensors").at(face));

  const json raft = read_json(data / "raft" / "cases.json");
  auto tensors = formula_tensors(read_json(data / "raft" / "raft_small.shapes.json"));
  tensors["update_block.flow_head.conv2.weight"] *= raft["flow_head_gain"].get<double>();
  write(folder_ / "raft", {{"architecture", "raft_small"}}, tensors);
  for (const std::string name : {"small_1", "small_12"}) {
    const json spec = raft["cases"][name];
    const at::Tensor first = tests::smooth_images("raft." + name + ".first", spec["batch"], spec["height"], spec["width"], 24);
    const at::Tensor noise = tests::smooth_images("raft." + name + ".noise", spec["batch"], spec["height"], spec["width"], 24);
    auto out = probe("raft", (folder_ / "raft").string(), {{"image1", first}, {"image2", first.roll({3, -5}, {2, 3}) * 0.9 + noise * 0.1}},
                     {"--updates", spec["updates"].dump()});
    ASSERT_TRUE(out.contains("flow"));
    out["flow"] = out["flow"].slice(2, 0, {}, 5).slice(3, 0, {}, 5);  // what the golden file keeps
    agrees("raft " + name, out, "flow", SafetensorsFile::open(data / "raft" / "flows.safetensors").at(name));
  }
}

TEST_F(Parity, ProbePromptAndTokenize) {
  const json all = cases()["cases"];
  ASSERT_EQ(all.size(), 7u);
  for (const auto& [name, spec] : all.items()) {
    const std::string text = spec["prompt"];
    for (const auto& [tokenizer, key] : {std::pair<std::string, std::string>{"tokenizer", "ids"}, {"tokenizer_2", "ids_2"}}) {
      const auto result = run_program({"tokenize", "--model", model(), "--tokenizer", tokenizer, "--text", text});
      ASSERT_EQ(result.exit_code, 0) << result.text();
      EXPECT_EQ(json::parse(result.out), spec[key]) << name << " " << tokenizer;
    }
    for (const char* folder : {"model", "old"}) {
      const std::string out = (folder_ / "out.safetensors").string();
      Arguments arguments{"probe", "prompt", "--model", model(folder), "--text", text, "--max-length", spec["max_length"].dump(), "--outputs", out};
      if (spec["template"].get<bool>()) arguments.insert(arguments.end(), {"--template-file", (*shared_ / "template.json").string()});
      const auto result = run_program(arguments);
      ASSERT_EQ(result.exit_code, 0) << result.text();
      const auto file = SafetensorsFile::open(out);
      const at::Tensor mask = expected(name + ".prompt_attention_mask");
      EXPECT_TRUE(at::equal(file.at("prompt_attention_mask").to(at::kLong), mask.to(at::kLong))) << name;
      agrees("prompt " + name + " " + folder, {{"prompt_embeds", file.at("prompt_embeds").slice(1, 0, mask.sum().item<std::int64_t>())}}, "prompt_embeds",
             expected(name + ".prompt_embeds"));
      agrees("pooled " + name + " " + folder, {{"pooled", file.at("pooled_prompt_embeds")}}, "pooled", expected(name + ".pooled_prompt_embeds"));
    }
  }
}

TEST_F(Parity, Samples) {
  const json all = cases()["cases"];
  ASSERT_EQ(all.size(), 7u);
  for (const auto& [name, spec] : all.items()) sample_agrees(name, model());
}

TEST_F(Parity, SamplesWithTextEncodersOfOldFiles) { sample_agrees("embedded_guidance", model("old")); }

// The adapter, the negative prompt and the shift each matter: a program that read past them would be noticed.
TEST_F(Parity, OptionsMatter) {
  for (const auto& [name, option] : {std::pair<std::string, std::string>{"adapter", "adapter"}, {"true_cfg", "true_cfg"}, {"shift_framewise", "shift"}}) {
    json spec = cases()["cases"][name];
    spec.erase(option);
    const auto result = run_program(sample_arguments(name, spec, model()));
    ASSERT_EQ(result.exit_code, 0) << result.text();
    EXPECT_GT(relative_error(SafetensorsFile::open(folder_ / "latents.safetensors").at("latents"), expected(name + ".latents")), 1e-2) << name;
  }
}

TEST_F(Parity, WrongRequestsAreRefused) {
  const auto sample = [&](const std::string& height, const std::string& width, const std::string& frames, const std::string& folder) {
    return Arguments{
        "sample", "--model", folder, "--prompt", "x", "--height", height, "--width", width, "--frames", frames, "--output", (folder_ / "o.mp4").string()};
  };
  refused(sample("40", "48", "5", model()), {"40", "16"});
  refused(sample("32", "50", "5", model()), {"50", "16"});
  refused(sample("32", "48", "6", model()), {"6", "4k+1"});
  refused(sample("32", "48", "5", (folder_ / "nowhere").string()), {"nowhere"});
  EXPECT_FALSE(fs::exists(folder_ / "o.mp4"));

  auto inputs = transformer_inputs(at::kLong, at::kFloat);
  inputs["hidden_state"] = inputs["hidden_states"];
  inputs.erase("hidden_states");
  const std::string in = (folder_ / "in.safetensors").string(), out = (folder_ / "out.safetensors").string();
  storage::write_safetensors(in, inputs);
  refused({"probe", "transformer", "--model", model(), "--inputs", in, "--outputs", out}, {"'hidden_states'", "'hidden_state'", "in.safetensors"});
  for (const std::string network : {"transformer", "vae-encode", "vae-decode", "clip-text", "clip-image", "arcface", "raft"})
    refused({"probe", network, "--model", (folder_ / "nowhere").string(), "--inputs", in, "--outputs", out}, {"nowhere"});
  EXPECT_FALSE(fs::exists(out));

  // A start of another size than the video's.
  storage::write_safetensors(folder_ / "noise.safetensors", {{"latents", at::zeros({1, 4, 2, 4, 4})}});
  auto wrong_start = sample("32", "48", "5", model());
  wrong_start.insert(wrong_start.end(), {"--initial-latents", (folder_ / "noise.safetensors").string()});
  refused(wrong_start, {"noise.safetensors", "'latents'"});
}

// Qwen2.5-VL through a folder in two shards; tests/reference/make_qwen2_5_vl.py.
TEST(Probe, AsksAVisionLanguageModelAsTransformersDoes) {
  TemporaryFolder folder;
  const json all = read_json(data / "qwen2_5_vl" / "cases.json").at("cases").at("tied_old"), asked = all.at("videos")[0];
  const auto expected = SafetensorsFile::open(data / "qwen2_5_vl" / "tied_old.safetensors");
  fs::copy(data / "qwen2_5_vl" / "tokenizer", folder / "model");
  write_json(folder / "model/config.json", all.at("config"));
  write_json(folder / "model/preprocessor_config.json", all.at("preprocessing"));
  std::map<std::string, NamedTensors> shards;
  json index;
  for (const auto& [name, tensor] : formula_tensors(all.at("shapes"))) {
    const std::string shard = name.starts_with("visual.") ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    shards[shard][name] = tensor;
    index["weight_map"][name] = shard;
  }
  for (const auto& [file, tensors] : shards) storage::write_safetensors(folder / ("model/" + file), tensors, {{"format", "pt"}});
  write_json(folder / "model/model.safetensors.index.json", index);
  const std::vector<std::int64_t> shape = {asked.at("frames"), 3, asked.at("height"), asked.at("width")};
  const at::Tensor u = formula_tensor("tied_old.0.running_var", {shape[0] * shape[1] * shape[2] * shape[3]}) - 0.5;
  storage::write_safetensors(folder / "in.safetensors", {{"frames", (u * 256).floor().clamp(0, 255).view(shape) / 255}}, {});
  const auto probe = [&](const Arguments& words) {
    Arguments command = {
        "probe",    "vqa", "--model",   (folder / "model").string(),          "--inputs", (folder / "in.safetensors").string(), "--fps", "12.5",
        "--device", "cpu", "--outputs", (folder / "out.safetensors").string()};
    command.insert(command.end(), words.begin(), words.end());
    return run_program(command);
  };
  for (const Arguments& words : {Arguments{"--text", asked.at("text")},
                                 Arguments{"--text", "a sks man's <|im_end|> hat", "--question", "Does this video show \"{}\"? Please answer yes or no."}}) {
    const auto result = probe(words);
    ASSERT_EQ(result.exit_code, 0) << result.text();
    const auto out = SafetensorsFile::open(folder / "out.safetensors");
    EXPECT_TRUE(at::equal(out.at("input_ids")[0], expected.at("0.input_ids").to(at::kLong)));
    EXPECT_TRUE(at::equal(out.at("video_grid_thw")[0], expected.at("0.video_grid_thw")));
    EXPECT_EQ(out.at("pixel_values_videos").sizes(), expected.at("0.levels").sizes());
    EXPECT_LT(relative_error(out.at("logits"), expected.at("0.logits")), 1e-5);
    EXPECT_GT(out.at("yes").item<double>(), 0);
  }
  EXPECT_EQ(probe({"--text", "a <|video_pad|>"}).exit_code, 2);
  storage::write_safetensors(folder / "in.safetensors", {{"frames", at::zeros({2, 8, 8})}}, {});
  const auto flat = probe({"--text", "a"});
  EXPECT_EQ(flat.exit_code, 2);
  EXPECT_THAT(flat.text(), HasSubstr("[F,3,H,W] was expected"));
}

}  // namespace
}  // namespace magicid
