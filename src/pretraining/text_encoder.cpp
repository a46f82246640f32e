// The pipeline's first text encoder: LLaMA's class, trained to continue captions inside HunyuanVideo's prompt template.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "base/errors.h"
#include "base/random.h"
#include "models/text/initialize.h"
#include "models/text/prompt_template.h"
#include "models/text/write_tokenizer.h"
#include "objectives/language_modelling.h"
#include "pretraining/captions.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "pretraining/written_tokenizer.h"

namespace magicid::pretraining {
namespace {

namespace text = models::text;

constexpr std::int64_t validation_captions = 128, layers_to_skip = 2;  // of what the pipeline reads

class TextEncoderNetwork : public Network {
 public:
  TextEncoderNetwork(const Context& context, const TextEncoderOptions& options)
      : context_(context),
        options_(options),
        tokenizer_([this](const auto& folder) { return write_tokenizer(folder); }),
        config_(config(options, tokenizer_.size)),
        parameters_(initial(config_, context.seed), context.placement.device, "text encoder"),
        objective_(config_, parameters_, context.placement.dtype, [this](auto step, auto slot, auto global) { return batch(step, slot, global); }) {}

  training::Objective& objective() override { return objective_; }

  // How well captions of unseen people are continued; and whether the mean of the states that the pipeline reads tells what happens: the share of captions
  // whose word a linear probe names.
  std::map<std::string, double> validate() override {
    const auto network = text::LlamaEncoder::from_weights(config_, parameters_.weights(at::kFloat), 0);
    std::vector<std::string> captions;
    for (std::int64_t i = 0; i < validation_captions; ++i) captions.push_back(draw_caption(miniature::Split::test, "text-encoder-validation", i).second);
    const auto result = objectives::language_loss(network, parameters_.at(objectives::language_head), tokens_of(captions));
    std::map<std::string, double> figures{{"loss", result.loss.item<double>()}, {"accuracy", result.accuracy.item<double>()}};
    for (const auto& [name, share] : linear_probes()) figures[name] = share;
    return figures;
  }

  void write() override {
    write_tokenizer(context_.model / "tokenizer");
    auto tensors = parameters_.named_tensors();
    tensors.erase(objectives::language_head);
    auto json = config_.to_json();
    json["torch_dtype"] = "float16";
    write_half(context_.model / "text_encoder", json.dump(2), tensors);
  }

 private:
  static text::LlamaConfig config(const TextEncoderOptions& o, std::int64_t vocabulary) {
    if (o.width % (2 * o.heads) != 0)
      throw base::UserError("text_encoder.width is ", o.width, "; expected an even number of channels for each of the ", o.heads, " heads");
    text::LlamaConfig config;
    config.vocab_size = vocabulary;
    config.hidden_size = o.width;
    config.intermediate_size = 3 * o.width;
    config.num_hidden_layers = o.layers;
    config.num_attention_heads = config.num_key_value_heads = o.heads;
    config.head_dim = o.width / o.heads;
    return config;
  }

  static storage::NamedTensors initial(const text::LlamaConfig& config, std::uint64_t seed) {
    auto tensors = text::initialize_llama(config, seed);
    at::Tensor head = at::empty({config.vocab_size, config.hidden_size});
    base::CounterRandom(seed, "initialize language head").normal(std::span<float>(head.data_ptr<float>(), static_cast<std::size_t>(head.numel())), 0);
    tensors[objectives::language_head] = head.mul_(0.5 / std::sqrt(static_cast<double>(config.hidden_size)));
    return tensors;
  }

  std::int64_t write_tokenizer(const std::filesystem::path& folder) const {
    auto words = miniature::caption_words();
    words.push_back(options_.trigger);
    words.push_back(",");
    return text::write_byte_level_tokenizer(folder, words);
  }

  // A scene and what is said of it: mostly a caption of a clip, sometimes that of a photo.
  std::pair<miniature::Scene, std::string> draw_caption(miniature::Split split, std::string_view purpose, std::int64_t number) const {
    miniature::Dice dice(context_.seed, purpose, static_cast<std::uint64_t>(number));
    const auto people = split == miniature::Split::train ? context_.world.train_people : context_.world.test_people;
    const auto person = context_.person(split, dice.below(static_cast<int>(people)));
    auto scene = miniature::draw_scene(person, context_.seed, static_cast<std::int64_t>(dice.bits()));
    // Rare in clips, so that pictures of still cameras prevail; as frequent as any word here.
    scene.camera = static_cast<miniature::Camera>(dice.below(miniature::cameras));
    const auto subject = draw_subject(person, options_.trigger, dice);
    const double kind = dice.uniform();
    if (kind < 0.05) return {scene, "a photo of " + std::string(subject.described ? "a " : "") + subject.text};
    if (kind < 0.10) return {scene, miniature::photo_caption(scene, subject.text)};
    return {scene, miniature::caption(scene, subject.text)};
  }

  objectives::LanguageBatch tokens_of(const std::vector<std::string>& captions) const {
    const auto prompt_template = text::PromptTemplate::hunyuan_video();
    std::vector<std::vector<std::int64_t>> rows;
    std::size_t longest = 0;
    for (const auto& caption : captions) {
      rows.push_back(tokenizer_.tokenizer.encode(prompt_template.render(caption)));
      longest = std::max(longest, rows.back().size());
    }
    std::vector<at::Tensor> ids, masks;
    for (auto& row : rows) {
      std::vector<std::int64_t> mask(row.size(), 1);
      mask.resize(longest, 0);
      row.resize(longest, tokenizer_.tokenizer.pad_id().value());
      ids.push_back(at::tensor(row));
      masks.push_back(at::tensor(mask));
    }
    return {at::stack(ids), at::stack(masks), prompt_template.crop_start};
  }

  objectives::LanguageBatch batch(std::int64_t step, std::int64_t slot, std::int64_t global) const {
    std::vector<std::string> captions;
    for (std::int64_t i = 0; i < options_.batch; ++i)
      captions.push_back(draw_caption(miniature::Split::train, "text-encoder-batch", (step * global + slot) * options_.batch + i).second);
    return tokens_of(captions);
  }

  // Captions as the pipeline's prompts, their states' means [N,D], and for each attribute its value (-1: the caption does not say).
  struct Read {
    at::Tensor means;
    std::map<std::string, std::vector<int>> values;
  };
  Read read(const text::LlamaEncoder& network, miniature::Split split, std::string_view purpose, std::int64_t count) const {
    Read out;
    std::vector<at::Tensor> parts;
    for (std::int64_t first = 0; first < count; first += options_.batch) {
      std::vector<std::string> captions;
      for (std::int64_t i = first; i < std::min(count, first + options_.batch); ++i) {
        miniature::Dice dice(context_.seed, purpose, static_cast<std::uint64_t>(i));
        auto scene = draw_caption(split, purpose, i).first;
        captions.push_back(miniature::caption(scene, draw_subject(scene.person, options_.trigger, dice).text));
        out.values["action"].push_back(static_cast<int>(scene.action));
        out.values["speed"].push_back(scene.action == miniature::Action::stands_still ? -1 : static_cast<int>(scene.speed));
        out.values["background"].push_back(static_cast<int>(scene.background));
        out.values["camera"].push_back(static_cast<int>(scene.camera));
      }
      const auto tokens = tokens_of(captions);
      const at::Tensor states = network.hidden_states(tokens.input_ids, tokens.attention_mask).slice(1, tokens.first);
      const at::Tensor mask = tokens.attention_mask.slice(1, tokens.first).to(states.device(), at::kFloat).unsqueeze(-1);
      parts.push_back(((states * mask).sum(1) / mask.sum(1)).to(at::kCPU, at::kDouble));
    }
    out.means = at::cat(parts);
    return out;
  }

  // A linear classifier (least squares with a small ridge) of the states' means, fitted on captions of training people.
  std::map<std::string, double> linear_probes() const {
    const auto network = text::LlamaEncoder::from_weights(config_, parameters_.weights(at::kFloat), layers_to_skip);
    const Read known = read(network, miniature::Split::train, "text-encoder-known", 4 * validation_captions),
               asked = read(network, miniature::Split::test, "text-encoder-asked", validation_captions);
    const at::Tensor middle = known.means.mean({0}, /*keepdim=*/true), spread = (known.means - middle).square().mean({0}, /*keepdim=*/true).sqrt() + 1e-6;
    const auto features = [&](const at::Tensor& means) { return at::cat({(means - middle) / spread, at::ones({means.size(0), 1}, means.options())}, 1); };
    const at::Tensor x = features(known.means), tested = features(asked.means);
    std::map<std::string, double> shares;
    for (const auto& [name, values] : asked.values) {
      const auto& labels = known.values.at(name);
      const int classes = 1 + *std::max_element(labels.begin(), labels.end());
      // A caption that does not say is a row of zeros on both sides.
      at::Tensor targets = at::zeros({x.size(0), classes}, x.options()), said = at::zeros({x.size(0), 1}, x.options());
      for (std::size_t i = 0; i < labels.size(); ++i)
        if (const auto row = static_cast<std::int64_t>(i); labels[i] >= 0) targets[row][labels[i]].fill_(1), said[row].fill_(1);
      const at::Tensor used = x * said;
      const at::Tensor weights = at::linalg_solve(at::matmul(used.t(), used) + at::eye(x.size(1), x.options()), at::matmul(used.t(), targets));
      const at::Tensor answers = at::matmul(tested, weights).argmax(1);
      double right = 0, all = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (values[i] < 0) continue;
        right += answers[static_cast<std::int64_t>(i)].item<std::int64_t>() == values[i];
        all += 1;
      }
      shares[name] = right / all;
    }
    return shares;
  }

  Context context_;
  TextEncoderOptions options_;
  WrittenTokenizer tokenizer_;
  text::LlamaConfig config_;
  models::nn::Parameters parameters_;
  objectives::LanguageModelling objective_;
};

}  // namespace

std::unique_ptr<Network> make_text_encoder(const Context& context, const TextEncoderOptions& options) {
  return std::make_unique<TextEncoderNetwork>(context, options);
}

}  // namespace magicid::pretraining
