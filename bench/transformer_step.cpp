// Times HunyuanVideo's transformer on this machine: the counterpart of transformer_step.py, line for line the same work.
//
//   transformer_step TRANSFORMER_FOLDER forward|train [float32|bfloat16] [REPEATS] [none|attention_kept|full]
//
// `forward` is one prediction without autograd; `train` is one step's forward and backward of the mean squared error with respect to a LoRA
// of rank 16 on all of the blocks' Linears but the modulations; the last argument is what its backward computes again (the counterpart's gradient
// checkpointing is `full`). One untimed repetition first. Prints one line of JSON: the seconds
// of each repetition and the peak resident memory of the whole process. bench/compare_transformer runs both and prints ratios.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "models/hunyuan_video/transformer.h"

namespace hv = magicid::models::hunyuan_video;

namespace {

// 8 x 16 x 16 patches of 2 x 2: 2048 video tokens.
constexpr std::int64_t kFrames = 8, kRows = 32, kColumns = 32, kTextRows = 64, kLoraRank = 16;

int run(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[2] : "", type = argc > 3 ? argv[3] : "float32";
  if ((mode != "forward" && mode != "train") || (type != "float32" && type != "bfloat16")) {
    std::fprintf(stderr, "usage: %s TRANSFORMER_FOLDER forward|train [float32|bfloat16] [REPEATS] [none|attention_kept|full]\n", argv[0]);
    return 2;
  }
  const magicid::models::generator::RecomputePlan recompute = magicid::models::generator::RecomputePlan::parse(argc > 5 ? argv[5] : "none");
  const int repeats = argc > 4 ? std::stoi(argv[4]) : 3;
  const auto dtype = type == "bfloat16" ? at::kBFloat16 : at::kFloat;
  at::get_num_threads();  // reads OMP_NUM_THREADS
  const hv::Transformer transformer = hv::Transformer::load(argv[1], {at::kCPU, dtype});
  const auto& config = transformer.config();
  magicid::models::generator::AdapterOptions options;
  options.lora_rank = kLoraRank;
  options.alpha = kLoraRank;
  magicid::models::generator::Adapter adapter = magicid::models::generator::Adapter::create(adaptable(config), options);
  const bool train = mode == "train";
  if (train) adapter.set_requires_grad(true);

  hv::TransformerInputs in;
  in.hidden_states = at::randn({1, config.in_channels, kFrames, kRows, kColumns});
  in.timestep = at::full({1}, 500.0);
  in.encoder_hidden_states = at::randn({1, kTextRows, config.text_embed_dim});
  in.pooled_projections = at::randn({1, config.pooled_projection_dim});
  in.guidance = at::full({1}, 6000.0);
  const at::Tensor target = at::randn({1, config.out_channels, kFrames, kRows, kColumns});

  const c10::AutoGradMode grad(train);
  std::string seconds;
  for (int i = -1; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (train) {
      const at::Tensor tokens = transformer.forward_tokens(in, &adapter, magicid::models::generator::local_joint_attention(), recompute);
      at::mse_loss(transformer.unpatchify(tokens, kFrames, kRows, kColumns).to(at::kFloat), target).backward();
      adapter.flat_gradients().detach().zero_();
    } else {
      transformer.forward(in);
    }
    const double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i >= 0) seconds += (i ? ", " : "") + std::to_string(t);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("{\"seconds\": [%s], \"peak_mib\": %.1f}\n", seconds.c_str(), static_cast<double>(usage.ru_maxrss) / 1024.0);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
