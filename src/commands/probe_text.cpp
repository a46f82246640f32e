// `magicid probe prompt` and `magicid tokenize`: what the text encoders see.

#include <c10/core/GradMode.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "backbone/model_folder.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "commands/command_line.h"
#include "commands/device_options.h"
#include "models/text/tokenizer.h"
#include "storage/safetensors.h"

namespace magicid::commands {

void add_probe_prompt(CLI::App& probe, Work& work) {
  struct Arguments {
    std::string model, text, template_file, outputs;
    std::int64_t max_length = 256;
    DeviceChoice device;
  };
  auto* command = probe.add_subcommand("prompt", "text -> prompt_embeds, pooled_prompt_embeds, prompt_attention_mask");
  auto a = std::make_shared<Arguments>();
  command->add_option("--model", a->model, "pipeline folder")->required();
  command->add_option("--text", a->text, "the prompt")->required();
  command->add_option("--template-file", a->template_file, "JSON {\"template\": \"...{}...\", \"crop_start\": N}; default: HunyuanVideo's own");
  command->add_option("--max-length", a->max_length, "prompt tokens kept")->check(CLI::PositiveNumber)->capture_default_str();
  command->add_option("--outputs", a->outputs, "safetensors file to write")->required();
  add_device_options(*command, a->device);
  command->callback([a, &work] {
    work = [a] {
      const c10::AutoGradMode no_grad(false);
      const auto prompts =
          backbone::ModelFolder::open(a->model).backbone().load_prompts({.template_file = a->template_file, .max_length = a->max_length}, resolve(a->device));
      const auto encoded = prompts->encode(base::decode_written_text(a->text, "--text"));
      if (encoded.warning) base::log::warning(*encoded.warning);
      storage::NamedTensors tensors(encoded.condition.tensors.begin(), encoded.condition.tensors.end());
      storage::write_safetensors(a->outputs, tensors, {{"producer", "magicid " + base::code_version()}});
      base::log::info("wrote " + a->outputs);
      return 0;
    };
  });
}

void add_tokenize(CLI::App& app, Work& work) {
  struct Arguments {
    std::string model, tokenizer = "tokenizer", text;
  };
  auto* command = app.add_subcommand("tokenize", "Print the token ids of a text, as it is given, as a JSON list, special tokens included");
  auto a = std::make_shared<Arguments>();
  command->add_option("--model", a->model, "pipeline folder")->required();
  command->add_option("--tokenizer", a->tokenizer, "tokenizer (language model) or tokenizer_2 (CLIP)")
      ->check(CLI::IsMember({"tokenizer", "tokenizer_2"}))
      ->capture_default_str();
  command->add_option("--text", a->text, "the text")->required();
  command->callback([a, &work] {
    work = [a] {
      const auto ids = models::text::Tokenizer::load(std::filesystem::path(a->model) / a->tokenizer).encode(base::decode_text(a->text, "--text"));
      std::cout << nlohmann::json(ids).dump() << std::endl;
      return 0;
    };
  });
}

}  // namespace magicid::commands
