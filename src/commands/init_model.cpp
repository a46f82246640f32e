// `magicid init-model`: a small pipeline folder with random weights, and the reward networks, for tests and first steps.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "backbone/model_folder.h"
#include "base/errors.h"
#include "base/log.h"
#include "commands/command_line.h"
#include "rewards/random_networks.h"

namespace magicid::commands {
namespace {

namespace fs = std::filesystem;

int init_model(const fs::path& out, const std::string& size, std::optional<std::uint64_t> seed, bool vqa) {
  if (fs::exists(out / "model_index.json")) throw base::UserError(out.string(), ": already holds a pipeline; choose another folder or remove it first");
  rewards::write_random_reward_networks(out / "rewards", size, seed);
  if (vqa) rewards::write_random_vqa_network(out / "rewards", seed.value_or(0));
  backbone::write_random_pipeline(out, size, seed);
  base::log::info("wrote " + out.string() + " (" + size + (seed ? ", random weights: it" : ", every weight is zero and takes no disk: it") +
                  " has the right shapes and knows nothing) and its reward networks in " + (out / "rewards").string());
  return 0;
}

}  // namespace

void add_init_model(CLI::App& app, Work& work) {
  struct Arguments {
    std::string out, size = "tiny";
    std::int64_t seed = 0;
    bool random = false;
    bool vqa = false;
  };
  auto* command =
      app.add_subcommand("init-model", "Write a small pipeline folder with random weights, and reward networks below rewards/, for tests and first steps");
  auto a = std::make_shared<Arguments>();
  command->add_option("out", a->out, "folder to write")->required();
  command
      ->add_option("--size", a->size,
                   "tiny (0.6M parameters in the transformer), mid (about 100M, for benchmarks), or hunyuanvideo: the published names, shapes, dtypes and "
                   "shards, as files of zeros that take no disk, to try a configuration, a plan or a cluster without the download")
      ->check(CLI::IsMember({"tiny", "mid", "hunyuanvideo"}))
      ->capture_default_str();
  command->add_option("--seed", a->seed, "of the weights")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_flag("--random", a->random, "with hunyuanvideo: random weights instead of zeros (46 GB)");
  command->add_flag("--vqa", a->vqa, "also a tiny Qwen2.5-VL in rewards/vqa, for rewards.semantics: vqa");
  command->callback([a, &work] {
    work = [a] {
      const bool zeros = a->size == "hunyuanvideo" && !a->random;
      return init_model(a->out, a->size, zeros ? std::nullopt : std::optional(static_cast<std::uint64_t>(a->seed)), a->vqa);
    };
  });
}

}  // namespace magicid::commands
