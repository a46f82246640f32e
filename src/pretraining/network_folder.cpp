#include "pretraining/network_folder.h"

#include "storage/atomic_file.h"
#include "storage/safetensors.h"

namespace magicid::pretraining {

void write_half(const std::filesystem::path& folder, const std::string& config, const std::map<std::string, at::Tensor>& tensors, const std::string& file) {
  storage::NamedTensors half;
  for (const auto& [name, tensor] : tensors)
    half[name] = tensor.is_floating_point() ? tensor.detach().to(at::kCPU, at::kHalf).contiguous() : tensor.detach().cpu();
  std::filesystem::create_directories(folder);
  storage::write_safetensors(folder / file, half, {{"format", "pt"}});
  storage::write_text_atomically(folder / "config.json", config + "\n");
}

}  // namespace magicid::pretraining
