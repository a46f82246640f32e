// The video network of FVD, as the TorchScript file that the field passes around (i3d_torchscript.pt, from StyleGAN-V).
// Sources: Carreira & Zisserman 2017 (arXiv:1705.07750); Unterthiner et al. 2018 (arXiv:1812.01717); preprocessing and call as in universome/stylegan-v.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <memory>

namespace magicid::models::vision {

class I3d {
 public:
  static constexpr std::int64_t minimum_frames = 10;  // fewer vanish in its pooling

  // Throws UserError when the file is missing or no TorchScript program.
  static I3d load(const std::filesystem::path& file, const c10::Device& device);

  // frames [F,3,H,W] RGB in 0..1, F >= minimum_frames -> features [D] float on the CPU (400 logits in the public file).
  // Throws InvariantError for another shape, UserError when the program does not answer as I3D does.
  at::Tensor operator()(const at::Tensor& frames) const;

  // What the network is given: short side scaled to 224 bilinearly, centre crop 224 x 224, -1..1 -> [1,3,F,224,224].
  static at::Tensor preprocess(const at::Tensor& frames);

 private:
  struct Program;  // keeps the headers of LibTorch's interpreter in one file
  I3d(std::shared_ptr<Program> program, std::filesystem::path file, const c10::Device& device);
  std::shared_ptr<Program> program_;
  std::filesystem::path file_;
  c10::Device device_;
};

}  // namespace magicid::models::vision
