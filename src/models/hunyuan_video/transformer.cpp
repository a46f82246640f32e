#include "models/hunyuan_video/transformer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <sstream>

#include "base/errors.h"

namespace magicid::models::hunyuan_video {
namespace {

using base::UserError;

std::string shape_text(const at::Tensor& t) {
  std::ostringstream out;
  out << t.sizes();
  return out.str();
}

// Text rows of each sample.
std::vector<std::int64_t> text_lengths(const at::Tensor& mask, std::int64_t batch, std::int64_t rows) {
  if (!mask.defined()) return std::vector<std::int64_t>(static_cast<std::size_t>(batch), rows);
  const at::Tensor values = mask.to(c10::kCPU, at::kDouble).contiguous();
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < batch; ++b) {
    const double* row = values.const_data_ptr<double>() + b * rows;
    std::int64_t length = 0;
    while (length < rows && row[length] == 1) ++length;
    for (std::int64_t i = 0; i < rows; ++i)
      if (row[i] != 0 && row[i] != 1) throw UserError("encoder_attention_mask: sample ", b, ", row ", i, " is ", row[i], "; expected 0 or 1");
    for (std::int64_t i = length; i < rows; ++i)
      if (row[i] != 0)
        throw UserError("encoder_attention_mask: sample ", b, " has text at row ", i, " after padding at row ", length,
                        "; expected all text rows first (pad on the right)");
    if (length == 0) throw UserError("encoder_attention_mask: sample ", b, " has no text row; expected at least one 1");
    lengths.push_back(length);
  }
  return lengths;
}

at::Tensor rows_of(const at::Tensor& t, const std::vector<std::int64_t>& samples) {
  if (static_cast<std::int64_t>(samples.size()) == t.size(0)) return t;
  return t.index_select(0, at::tensor(samples, at::kLong).to(t.device()));
}

}  // namespace

void Transformer::check(const TransformerInputs& in) const {
  const auto expect = [](bool holds, const char* name, const at::Tensor& t, const std::string& expected) {
    if (!t.defined()) throw UserError("transformer input '", name, "' is missing; expected ", expected);
    if (!holds) throw UserError("transformer input '", name, "' has shape ", shape_text(t), "; expected ", expected);
  };
  const auto& x = in.hidden_states;
  expect(x.defined() && x.dim() == 5 && x.size(1) == config_.in_channels && x.size(0) > 0, "hidden_states", x,
         base::concat("[batch, ", config_.in_channels, ", frames, rows, columns]"));
  const std::int64_t patches[3] = {config_.patch_size_t, config_.patch_size, config_.patch_size};
  for (int axis = 0; axis < 3; ++axis)
    if (x.size(2 + axis) % patches[axis] != 0 || x.size(2 + axis) == 0)
      throw UserError("transformer input 'hidden_states' has shape ", shape_text(x), ": its latent frames, rows and columns must be multiples of the patch (",
                      patches[0], ", ", patches[1], ", ", patches[2], "); choose a video size that gives such latents");
  const std::int64_t batch = x.size(0);
  const auto& text = in.encoder_hidden_states;
  expect(text.defined() && text.dim() == 3 && text.size(0) == batch && text.size(1) > 0 && text.size(2) == config_.text_embed_dim, "encoder_hidden_states",
         text, base::concat("[", batch, ", text rows, ", config_.text_embed_dim, "]"));
  const auto& pooled = in.pooled_projections;
  expect(pooled.defined() && pooled.dim() == 2 && pooled.size(0) == batch && pooled.size(1) == config_.pooled_projection_dim, "pooled_projections", pooled,
         base::concat("[", batch, ", ", config_.pooled_projection_dim, "]"));
  const auto& time = in.timestep;
  expect(time.defined() && time.dim() == 1 && time.size(0) == batch, "timestep", time, base::concat("[", batch, "]"));
  const auto& guidance = in.guidance;
  if (config_.guidance_embeds)
    expect(guidance.defined() && guidance.dim() == 1 && guidance.size(0) == batch, "guidance", guidance,
           base::concat("[", batch, "], 1000 times the guidance scale (the model embeds it)"));
  const auto& mask = in.encoder_attention_mask;
  if (mask.defined())
    expect(mask.dim() == 2 && mask.size(0) == batch && mask.size(1) == text.size(1), "encoder_attention_mask", mask,
           base::concat("[", batch, ", ", text.size(1), "]"));
}

at::Tensor Transformer::patchify(const at::Tensor& latents) const {
  const std::int64_t pt = config_.patch_size_t, p = config_.patch_size;
  const std::int64_t batch = latents.size(0), channels = latents.size(1);
  const std::int64_t frames = latents.size(2) / pt, rows = latents.size(3) / p, columns = latents.size(4) / p;
  return latents.reshape({batch, channels, frames, pt, rows, p, columns, p})
      .permute({0, 2, 4, 6, 1, 3, 5, 7})
      .reshape({batch, frames * rows * columns, config_.patch_numbers(channels)});
}

at::Tensor Transformer::unpatchify(const at::Tensor& tokens, std::int64_t frames, std::int64_t rows, std::int64_t columns) const {
  const std::int64_t pt = config_.patch_size_t, p = config_.patch_size, batch = tokens.size(0);
  const std::int64_t channels = tokens.size(2) / config_.patch_numbers(1);
  return tokens.reshape({batch, frames / pt, rows / p, columns / p, channels, pt, p, p})
      .permute({0, 4, 1, 5, 2, 6, 3, 7})
      .reshape({batch, channels, frames, rows, columns});
}

at::Tensor Transformer::forward(const TransformerInputs& inputs, const generator::Adapter* adapter, generator::JointAttention& attention) const {
  check(inputs);
  const auto& x = inputs.hidden_states;
  const std::int64_t tokens = x.size(2) * x.size(3) * x.size(4) / config_.patch_numbers(1);
  const generator::TokenRange range = attention.video_range(tokens);
  base::check_invariant(range.begin == 0 && range.count == tokens, "Transformer::forward needs all ", tokens,
                        " video tokens; with a shared sequence use forward_tokens and gather");
  return unpatchify(forward_tokens(inputs, adapter, attention), x.size(2), x.size(3), x.size(4));
}

at::Tensor Transformer::velocity_tokens(const generator::DenoiserInputs& in, const generator::Adapter* adapter, const generator::TokenWork& work) const {
  const auto numbers = at::TensorOptions().device(placement_.device).dtype(in.latents.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  TransformerInputs inputs;
  inputs.hidden_states = in.latents;
  inputs.timestep = at::full({1}, in.timestep, numbers);
  inputs.encoder_hidden_states = in.condition.at("prompt_embeds");
  inputs.encoder_attention_mask = in.condition.find("prompt_attention_mask");
  inputs.pooled_projections = in.condition.at("pooled_prompt_embeds");
  inputs.guidance = at::full({1}, 1000 * in.guidance, numbers);
  return forward_tokens(inputs, adapter, work.attention, work.recompute);
}

at::Tensor Transformer::forward_tokens(const TransformerInputs& in, const generator::Adapter* adapter, generator::JointAttention& attention,
                                       const generator::RecomputePlan& recompute) const {
  check(in);
  recompute.check(static_cast<std::int64_t>(double_blocks_.size() + single_blocks_.size()));
  const auto lengths = text_lengths(in.encoder_attention_mask, in.hidden_states.size(0), in.encoder_hidden_states.size(1));
  std::map<std::int64_t, std::vector<std::int64_t>> groups;
  for (std::size_t b = 0; b < lengths.size(); ++b) groups[lengths[b]].push_back(static_cast<std::int64_t>(b));

  std::vector<at::Tensor> outputs;
  std::vector<std::int64_t> place(lengths.size());  // of each sample in the groups' order
  std::int64_t done = 0;
  for (const auto& [length, samples] : groups) {
    TransformerInputs group;
    group.hidden_states = rows_of(in.hidden_states, samples).to(placement_.dtype);
    group.timestep = rows_of(in.timestep, samples);
    group.encoder_hidden_states = rows_of(in.encoder_hidden_states, samples).narrow(1, 0, length).to(placement_.dtype);
    group.pooled_projections = rows_of(in.pooled_projections, samples).to(placement_.dtype);
    if (config_.guidance_embeds) group.guidance = rows_of(in.guidance, samples);
    outputs.push_back(forward_group(group, adapter, attention, recompute));
    for (const auto sample : samples) place[static_cast<std::size_t>(sample)] = done++;
  }
  if (outputs.size() == 1) return outputs[0];
  return at::cat(outputs, 0).index_select(0, at::tensor(place, at::kLong).to(outputs[0].device()));
}

at::Tensor Transformer::forward_group(const TransformerInputs& in, const generator::Adapter* adapter, generator::JointAttention& attention,
                                      const generator::RecomputePlan& recompute) const {
  const auto& x = in.hidden_states;
  const std::int64_t pt = config_.patch_size_t, p = config_.patch_size;
  const std::array<std::int64_t, 3> grid = {x.size(2) / pt, x.size(3) / p, x.size(4) / p};
  const generator::TokenCounts whole{.video = grid[0] * grid[1] * grid[2], .text = in.encoder_hidden_states.size(1)};
  const generator::TokenRange range = attention.video_range(whole.video), text_range = attention.text_range(whole.text);

  const BlockContext context{.config = config_,
                             .adapter = adapter,
                             .rotary = rotary_table(config_, grid, range, x.device()),
                             .attention = attention,
                             .whole = whole,
                             .video_tokens = range.count};
  const at::Tensor activated = at::silu(condition_(in.timestep, in.pooled_projections, in.guidance));
  at::Tensor video = image_in_(patchify(x).narrow(1, range.begin, range.count));
  at::Tensor text = refiner_(in.encoder_hidden_states, in.timestep, config_).narrow(1, text_range.begin, text_range.count);
  std::size_t index = 0;
  const auto leaves = [&](const std::string& block) { return adapter ? adapter->leaves_of(block) : std::vector<at::Tensor>(); };
  for (const auto& block : double_blocks_) {
    const auto mode = recompute.of(index++);
    if (mode == generator::Recompute::none) {
      auto outputs = block(std::move(video), std::move(text), activated, context);
      video = std::move(outputs.first);
      text = std::move(outputs.second);
      continue;
    }
    const generator::BlockFunction function = [&block, context](std::vector<at::Tensor> inputs, generator::AttentionTape* tape) {
      auto outputs = block(std::move(inputs[0]), std::move(inputs[1]), inputs[2], context, tape);
      return std::vector<at::Tensor>{std::move(outputs.first), std::move(outputs.second)};
    };
    auto outputs = generator::run_block(mode, function, {std::move(video), std::move(text), activated}, leaves(block.name));
    video = std::move(outputs[0]);
    text = std::move(outputs[1]);
  }
  if (!single_blocks_.empty()) {
    at::Tensor joint = at::cat({std::move(video), std::move(text)}, 1);
    video.reset();
    text.reset();
    for (const auto& block : single_blocks_) {
      const auto mode = recompute.of(index++);
      if (mode == generator::Recompute::none) {
        joint = block(std::move(joint), activated, context);
        continue;
      }
      const generator::BlockFunction function = [&block, context](std::vector<at::Tensor> inputs, generator::AttentionTape* tape) {
        return std::vector<at::Tensor>{block(std::move(inputs[0]), inputs[1], context, tape)};
      };
      joint = generator::run_block(mode, function, {std::move(joint), activated}, leaves(block.name))[0];
    }
    video = joint.narrow(1, 0, range.count);
  }
  const auto modulation = final_modulation_(activated).chunk(2, 1);  // shift, scale
  return final_linear_(modulated_norm(video, modulation[0], modulation[1]));
}

}  // namespace magicid::models::hunyuan_video
