#include "models/text/prompt_encoder.h"

#include <ATen/ops/tensor.h>

#include "base/errors.h"

namespace magicid::models::text {
namespace {

constexpr std::int64_t kClipLength = 77;  // fixed in the pipeline, whatever the tokeniser's model_max_length

at::Tensor row(const std::vector<std::int64_t>& values) { return at::tensor(values, at::TensorOptions(at::kLong)).unsqueeze(0); }

// The template's last words are cut before the prompt is: they are not the user's text.
std::string prompt_part(const Tokenizer& tokenizer, const std::string& cut, const PromptTemplate& prompt_template) {
  const std::string tail = tokenizer.decode(tokenizer.encode(prompt_template.tail(), false), true);
  if (cut.size() <= tail.size()) return tail.ends_with(cut) ? "" : cut;
  return cut.ends_with(tail) ? cut.substr(0, cut.size() - tail.size()) : cut;
}

}  // namespace

PromptTokenizer PromptTokenizer::load(const std::filesystem::path& pipeline_folder) {
  PromptTokenizer out;
  out.llama_ = Tokenizer::load(pipeline_folder / "tokenizer");
  out.clip_ = Tokenizer::load(pipeline_folder / "tokenizer_2");
  const auto& settings = out.llama_.settings();
  if (settings.pad_left || settings.truncate_left) {
    throw base::UserError((pipeline_folder / "tokenizer" / "tokenizer_config.json").string(), ": \"", settings.pad_left ? "padding_side" : "truncation_side",
                          "\" is left. HunyuanVideo drops the template's tokens from the left and needs right; change the file.");
  }
  return out;
}

PromptTokens PromptTokenizer::operator()(const std::string& prompt, const PromptTemplate& prompt_template, std::int64_t max_length) const {
  if (max_length < 1) throw base::UserError("a prompt length of ", max_length, " tokens; expected 1 or more");
  PromptTokens out;
  out.llama = llama_.encode_padded(prompt_template.render(prompt), max_length + prompt_template.crop_start);
  out.llama_cut_text = prompt_part(llama_, out.llama.cut_text, prompt_template);
  out.clip = clip_.encode_padded(prompt, kClipLength);
  out.clip_cut_text = out.clip.cut_text;
  return out;
}

std::vector<std::string> PromptTokenizer::limits_within(const std::string& beginning, const PromptTemplate& prompt_template, std::int64_t max_length) const {
  std::vector<std::string> limits;
  const auto add = [&](const char* encoder, const PaddedTokens& tokens, std::int64_t limit) {
    const auto lost = static_cast<std::int64_t>(tokens.cut_ids.size());
    if (lost > 0) limits.push_back(base::concat(encoder, " reads ", limit, " tokens of a prompt, and it ends with token ", limit + lost));
  };
  add("the language model", llama_.encode_padded(prompt_template.head() + beginning, max_length + prompt_template.crop_start), max_length);
  const PaddedTokens clip = clip_.encode_padded(beginning, kClipLength);
  add("CLIP", clip, static_cast<std::int64_t>(clip_.encode(beginning, false).size() - clip.cut_ids.size()));
  return limits;
}

std::optional<std::string> over_length_warning(const PromptTokens& tokens) {
  if (tokens.llama_cut_text.empty() && tokens.clip_cut_text.empty()) return std::nullopt;
  std::string line = "the prompt is too long:";
  if (!tokens.llama_cut_text.empty()) line += " the language model does not read \"" + tokens.llama_cut_text + "\"";
  if (!tokens.clip_cut_text.empty()) line += std::string(tokens.llama_cut_text.empty() ? "" : ";") + " CLIP does not read \"" + tokens.clip_cut_text + "\"";
  return line;
}

PromptEncoder PromptEncoder::load(const std::filesystem::path& pipeline_folder, const nn::Placement& placement, std::int64_t layers_to_skip) {
  PromptEncoder out;
  out.tokenizer_ = PromptTokenizer::load(pipeline_folder);
  out.llama_ = LlamaEncoder::load(pipeline_folder / "text_encoder", placement, layers_to_skip);
  out.clip_ = ClipTextEncoder::load(pipeline_folder / "text_encoder_2", placement);
  out.placement_ = placement;
  return out;
}

PromptEmbeddings PromptEncoder::operator()(const std::string& prompt, const PromptTemplate& prompt_template, std::int64_t max_length) const {
  PromptEmbeddings out;
  out.tokens = tokenizer_(prompt, prompt_template, max_length);
  const std::int64_t crop = prompt_template.crop_start;
  const at::Tensor mask = row(out.tokens.llama.attention_mask);
  const at::Tensor states = llama_.hidden_states(row(out.tokens.llama.ids), mask);
  out.prompt_embeds = states.slice(1, crop).contiguous();
  out.prompt_attention_mask = mask.slice(1, crop).contiguous().to(placement_.device);
  if (out.prompt_attention_mask.sum().item<std::int64_t>() == 0) {
    throw base::UserError("the rendered prompt has ", mask.sum().item<std::int64_t>(), " tokens and crop_start is ", crop,
                          ": nothing of the prompt is left. crop_start counts the tokens in front of the prompt with this tokeniser.");
  }
  out.pooled_prompt_embeds = clip_(row(out.tokens.clip.ids)).pooler_output;
  return out;
}

PromptEmbeddings::operator generator::Condition() const {
  generator::Condition condition{{{"prompt_embeds", prompt_embeds}, {"pooled_prompt_embeds", pooled_prompt_embeds}}};
  if (prompt_attention_mask.defined()) condition.tensors.emplace_back("prompt_attention_mask", prompt_attention_mask);
  return condition;
}

}  // namespace magicid::models::text
