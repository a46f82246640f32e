#include "models/vision/i3d.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/jit_exception.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>

#include "base/errors.h"

namespace magicid::models::vision {

struct I3d::Program {
  torch::jit::Module module;
};

namespace {

constexpr std::int64_t side = 224;

// The first line of what LibTorch says: the rest is a stack trace.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

I3d::I3d(std::shared_ptr<Program> program, std::filesystem::path file, const c10::Device& device)
    : program_(std::move(program)), file_(std::move(file)), device_(device) {}

I3d I3d::load(const std::filesystem::path& file, const c10::Device& device) {
  if (!std::filesystem::is_regular_file(file))
    throw base::UserError(file.string(), ": no such file; the TorchScript file of I3D (i3d_torchscript.pt) was expected");
  auto program = std::make_shared<Program>();
  try {
    program->module = torch::jit::load(file.string(), device);
    program->module.eval();
  } catch (const std::exception& error) {
    if (base::is_out_of_memory(error)) throw;
    throw base::UserError(file.string(), ": is no TorchScript program (", first_line(error),
                          "); the file i3d_torchscript.pt was expected, not a checkpoint of weights");
  }
  return I3d(std::move(program), file, device);
}

at::Tensor I3d::preprocess(const at::Tensor& frames) {
  base::check_invariant(frames.dim() == 4 && frames.size(1) == 3, "I3D needs frames [F,3,H,W]");
  const std::int64_t height = frames.size(2), width = frames.size(3);
  // The short side is exact, the long one rounded up, as the reference has it.
  const auto scaled = [&](std::int64_t size, std::int64_t shorter) { return size == shorter ? side : (size * side + shorter - 1) / shorter; };
  const std::int64_t shorter = std::min(height, width);
  const std::int64_t h = scaled(height, shorter), w = scaled(width, shorter);
  const at::Tensor resized = at::upsample_bilinear2d(frames.to(at::kFloat), {h, w}, /*align_corners=*/false);
  const at::Tensor cropped = resized.narrow(2, (h - side) / 2, side).narrow(3, (w - side) / 2, side);
  return ((cropped - 0.5) * 2).permute({1, 0, 2, 3}).unsqueeze(0).contiguous();
}

at::Tensor I3d::operator()(const at::Tensor& frames) const {
  base::check_invariant(frames.dim() == 4 && frames.size(0) >= minimum_frames, "I3D needs ", minimum_frames, " frames");
  const c10::AutoGradMode no_grad(false);
  // The interpreter rewrites a program after its first calls; unoptimised, the first video and the tenth see the same arithmetic on every rank.
  const torch::jit::GraphOptimizerEnabledGuard plain(false);
  at::Tensor features;
  try {
    const c10::IValue answer =
        program_->module.get_method("forward")({preprocess(frames.to(device_))}, {{"rescale", false}, {"resize", false}, {"return_features", true}});
    if (!answer.isTensor()) throw base::UserError(file_.string(), ": its program returns no tensor; i3d_torchscript.pt was expected");
    features = answer.toTensor().to(at::kCPU, at::kFloat);
  } catch (const c10::Error& error) {
    if (base::is_out_of_memory(error)) throw;
    throw base::UserError(file_.string(), ": its program cannot be called as I3D is (", error.what_without_backtrace(), "); i3d_torchscript.pt was expected");
  } catch (const torch::jit::JITException& error) {
    if (base::is_out_of_memory(error)) throw;
    throw base::UserError(file_.string(), ": its program failed: ", first_line(error));
  }
  if (features.dim() != 2 || features.size(0) != 1)
    throw base::UserError(file_.string(), ": its program returns a tensor of ", features.dim(), " dimensions; one row of features, [1,D], was expected");
  return features[0];
}

}  // namespace magicid::models::vision
