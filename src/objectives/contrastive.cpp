#include "objectives/contrastive.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "base/errors.h"

namespace magicid::objectives {
namespace {

at::Tensor unit_rows(const at::Tensor& x) { return x / at::clamp_min(x.square().sum({-1}, /*keepdim=*/true).sqrt(), 1e-6); }

// Cross entropy of each row's softmax with the row of `targets` scaled to sum 1, mean over rows.
at::Tensor row_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  return -(at::log_softmax(logits, -1) * (targets / targets.sum({-1}, /*keepdim=*/true))).sum(-1).mean();
}

double accuracy(const at::Tensor& logits, const at::Tensor& matches) {
  return matches.gather(1, logits.argmax(-1, /*keepdim=*/true)).to(at::kDouble).mean().item<double>();
}

at::Tensor similarity(const at::Tensor& image, const at::Tensor& text, const at::Tensor& logit_scale) {
  return at::matmul(unit_rows(image), unit_rows(text).t()) * at::clamp_max(logit_scale, std::log(largest_logit_scale)).exp();
}

at::Tensor symmetric_entropy(const at::Tensor& logits, const at::Tensor& matches) {
  const at::Tensor targets = matches.to(logits.scalar_type());
  return (row_entropy(logits, targets) + row_entropy(logits.t(), targets.t())) * 0.5;
}

void check(const at::Tensor& image, const at::Tensor& text, const at::Tensor& matches) {
  base::check_invariant(
      image.dim() == 2 && image.sizes() == text.sizes() && matches.dim() == 2 && matches.size(0) == image.size(0) && matches.size(1) == image.size(0),
      "contrastive loss of images ", image.sizes(), ", texts ", text.sizes(), " and matches ", matches.sizes(), "; [B,D], [B,D] and [B,B] were expected");
  base::check_invariant(matches.any(0).all().item<bool>() && matches.any(1).all().item<bool>(),
                        "a picture without text, or a text without picture, in a contrastive batch");
}

}  // namespace

at::Tensor contrastive_loss(const at::Tensor& image, const at::Tensor& text, const at::Tensor& logit_scale, const at::Tensor& matches) {
  check(image, text, matches);
  return symmetric_entropy(similarity(image, text, logit_scale), matches);
}

Contrastive::Contrastive(models::vision::ClipVisionConfig vision, models::text::ClipTextConfig text, models::nn::Parameters& parameters, at::ScalarType dtype,
                         ContrastiveBatches batches)
    : vision_(vision), text_(text), parameters_(parameters), dtype_(dtype), batches_(std::move(batches)) {}

std::vector<double> Contrastive::accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) {
  const auto batch = batches_(step, slot, global_batch);
  const auto device = parameters_.values().device();
  const auto images = models::vision::ClipVision::from_weights(parameters_.weights(dtype_), vision_);
  const auto texts = models::text::ClipTextEncoder::from_weights(text_, parameters_.weights(dtype_));
  const at::Tensor image = images.embed(batch.pixel_values), text = texts(batch.input_ids).text_embeds.to(at::kFloat), matches = batch.matches.to(device);
  check(image, text, matches);
  const at::Tensor& logit_scale = parameters_.at("logit_scale");
  const at::Tensor logits = similarity(image, text, logit_scale), loss = symmetric_entropy(logits, matches);
  loss.backward();
  const c10::AutoGradMode no_grad(false);
  return {loss.item<double>(), accuracy(logits, matches), accuracy(logits.t(), matches.t()),
          std::min(std::exp(logit_scale.item<double>()), largest_logit_scale)};
}

}  // namespace magicid::objectives
