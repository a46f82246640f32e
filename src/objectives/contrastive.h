// Training of an image-text pair: pictures and texts that belong together lie close, all others of the batch apart.
// Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (arXiv:2103.00020), figure 3. Here several texts of a
// batch may be true of one picture: the target is then shared evenly among them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/nn/parameters.h"
#include "models/text/clip_text.h"
#include "models/vision/clip_vision.h"
#include "training/objective.h"

namespace magicid::objectives {

// The largest value of exp(logit_scale), as in the paper.
inline constexpr double largest_logit_scale = 100;

// Symmetric cross entropy. image, text [B,D], not normalised; logit_scale a number, the logarithm of the factor on cosines; matches [B,B] bool: text j is true
// of picture i, with at least one text for each picture and one picture for each text. Returns a number; differentiable. Throws InvariantError otherwise.
at::Tensor contrastive_loss(const at::Tensor& image, const at::Tensor& text, const at::Tensor& logit_scale, const at::Tensor& matches);

struct ContrastiveBatch {
  at::Tensor pixel_values;  // [B,3,S,S], preprocessed
  at::Tensor input_ids;     // [B,L] int64, padded behind the end of the text
  at::Tensor matches;       // [B,B] bool
};
// The batch of one slot of one step; a function of its arguments alone.
using ContrastiveBatches = std::function<ContrastiveBatch(std::int64_t step, std::int64_t slot, std::int64_t global_batch)>;

class Contrastive : public training::Objective {
 public:
  // `parameters` holds a whole CLIPModel's tensors (both halves and logit_scale) and must outlive the objective; the networks compute in `dtype`, the loss in
  // float.
  Contrastive(models::vision::ClipVisionConfig vision, models::text::ClipTextConfig text, models::nn::Parameters& parameters, at::ScalarType dtype,
              ContrastiveBatches batches);

  at::Tensor parameters() override { return parameters_.values(); }
  at::Tensor gradient() override { return parameters_.gradient(); }
  // Accuracies: share of pictures (texts) whose nearest text (picture) is one that belongs to it.
  std::vector<std::string> metric_names() const override { return {"loss", "text_accuracy", "image_accuracy", "logit_scale"}; }
  std::vector<double> accumulate(std::int64_t step, std::int64_t slot, std::int64_t global_batch) override;

 private:
  models::vision::ClipVisionConfig vision_;
  models::text::ClipTextConfig text_;
  models::nn::Parameters& parameters_;
  at::ScalarType dtype_;
  ContrastiveBatches batches_;
};

}  // namespace magicid::objectives
