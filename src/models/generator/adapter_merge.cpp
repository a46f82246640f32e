#include "models/generator/adapter_merge.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <c10/core/GradMode.h>

#include <system_error>

#include "base/errors.h"
#include "base/names.h"
#include "models/generator/adapter_summary.h"
#include "storage/atomic_file.h"
#include "storage/safetensors_writer.h"

namespace magicid::models::generator {
namespace {

namespace fs = std::filesystem;
using base::SystemError;
using base::UserError;

// The part of a module that one tensor holds.
struct AdaptedTensor {
  const nn::LoraLayer* layer = nullptr;
  std::int64_t first = 0, count = 0;  // rows of B
};

std::map<std::string, AdaptedTensor> adapted_tensors(const Adapter& adapter, const StoredLinears& stored) {
  std::map<std::string, AdaptedTensor> tensors;
  for (const auto& m : adapter.modules())
    for (const auto& rows : stored.rows_of(m.name)) tensors[rows.tensor] = {adapter.find(m.name), rows.first, rows.count};
  return tensors;
}

at::Tensor merged(const at::Tensor& weight, const AdaptedTensor& adapted) {
  const auto dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor a = adapted.layer->a.detach().cpu().to(dtype), b = adapted.layer->b.detach().cpu().to(dtype).narrow(0, adapted.first, adapted.count);
  return at::addmm(weight.to(dtype), b, a, 1, adapted.layer->scale).to(weight.scalar_type());
}

void check_out(const fs::path& out, const std::vector<storage::SafetensorsFile>& files) {
  std::error_code failure;
  if (fs::exists(out, failure) && (!fs::is_directory(out, failure) || !fs::is_empty(out, failure)))
    throw UserError(out.string(), ": holds something already; choose another folder or remove it first");
  fs::create_directories(out, failure);
  if (failure) throw SystemError(out.string(), ": cannot be made: ", failure.message());
  std::uintmax_t needed = 0;
  for (const auto& file : files) needed += fs::file_size(file.path());
  const auto space = fs::space(out, failure);
  if (!failure && space.available < needed)
    throw SystemError(out.string(), ": the merged weights need ", needed, " bytes, the disk has ", space.available, " left");
}

}  // namespace

void merge_adapter(const StoredLinears& source, const Adapter& adapter, const fs::path& out, const std::map<std::string, std::string>& metadata,
                   const std::function<void(std::size_t files)>& progress) {
  const c10::AutoGradMode no_grad(false);
  if (const auto broken = modules_not_finite(adapter); !broken.empty())
    throw UserError("the adapter holds numbers that are not finite (NaN or infinity), which would spoil the model: ", base::join_names(broken, 5));
  const auto adapted = adapted_tensors(adapter, source);
  check_out(out, source.files());
  for (const auto& known : source.files()) {
    // Opened again, so that the pages of one file are let go before the next.
    const auto file = storage::SafetensorsFile::open(known.path());
    std::vector<storage::PlannedTensor> plan;
    for (const auto& name : file.names()) plan.push_back({name, file.dtype(name), file.shape(name)});
    auto header = file.metadata();
    for (const auto& [key, value] : metadata) header[key] = value;
    const auto make = [&](const std::string& name) {
      const auto found = adapted.find(name);
      return found == adapted.end() ? file.at(name) : merged(file.at(name), found->second);
    };
    storage::write_safetensors_one_by_one(out / file.path().filename(), plan, make, header);
    if (progress) progress(source.files().size());
  }
  std::vector<fs::path> texts;
  for (const auto& entry : fs::directory_iterator(source.folder()))
    if (entry.is_regular_file() && entry.path().extension() == ".json" && entry.path().filename() != "config.json") texts.push_back(entry.path());
  texts.push_back(source.folder() / "config.json");
  for (const auto& text : texts) storage::write_text_atomically(out / text.filename(), storage::read_text(text));
}

}  // namespace magicid::models::generator
