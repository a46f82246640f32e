// The small world's face embedder, by margin softmax on its training people.

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/errors.h"
#include "base/random.h"
#include "media/image.h"
#include "models/vision/face_embedder.h"
#include "models/vision/initial_networks.h"
#include "objectives/face_margin.h"
#include "pretraining/face_crops.h"
#include "pretraining/network.h"
#include "pretraining/network_folder.h"
#include "rewards/features.h"

namespace magicid::pretraining {
namespace {

namespace vision = models::vision;

constexpr std::int64_t statistics_batches = 8, statistics_faces = 32;  // for the norms' population statistics
constexpr std::int64_t photos_each = 4;                                // of a person in validation

vision::FaceEmbedderConfig config_of(const FaceEmbedderOptions& o) {
  vision::FaceEmbedderConfig config{.architecture = o.architecture, .embedding_size = o.embedding_size};
  if (o.architecture != "mobilefacenet_112x112") return config;
  std::copy(o.channels.begin(), o.channels.end(), config.shape.channels.begin());
  std::copy(o.blocks.begin(), o.blocks.end(), config.shape.blocks.begin());
  return config;
}

std::int64_t people_of(const Context& context, const FaceEmbedderOptions& options) { return std::min(options.people, context.world.train_people); }

class FaceEmbedderNetwork : public Network {
 public:
  FaceEmbedderNetwork(const Context& context, const FaceEmbedderOptions& options)
      : context_(context),
        options_(options),
        config_(config_of(options)),
        parameters_(objectives::face_margin_tensors(vision::initial_face_embedder(config_, context.seed).tensors, people_of(context, options),
                                                    options.embedding_size, context.seed),
                    context.placement.device, "face embedder"),
        objective_(config_, parameters_, context.placement.dtype,
                   [this](auto step, auto slot, auto global) { return batch(static_cast<std::uint64_t>(step * global + slot), options_.batch); },
                   {.scale = options.scale, .margin = options.margin, .margin_steps = options.training.steps / 4}) {}

  training::Objective& objective() override { return objective_; }

  std::map<std::string, double> validate() override {
    const at::Tensor cosines = validation_cosines(context_.world.test_people);
    const auto cosine = cosines.accessor<float, 2>();
    std::vector<double> same, different;
    for (std::int64_t i = 0; i < cosines.size(0); ++i)
      for (std::int64_t j = 0; j < i; ++j) (i / photos_each == j / photos_each ? same : different).push_back(cosine[i][j]);
    const auto mean = [](const std::vector<double>& values) {
      double sum = 0;
      for (const double value : values) sum += value;
      return sum / static_cast<double>(values.size());
    };
    // The threshold that one pair of different people in a hundred passes.
    auto at_rank = different.begin() + static_cast<std::ptrdiff_t>(different.size() / 100);
    std::nth_element(different.begin(), at_rank, different.end(), std::greater<>());
    const double threshold = *at_rank;
    const auto accepted = std::count_if(same.begin(), same.end(), [&](double value) { return value > threshold; });
    return {{"same", mean(same)},
            {"different", mean(different)},
            {"threshold", threshold},
            {"true_accept_rate", static_cast<double>(accepted) / static_cast<double>(same.size())}};
  }

  // A row for each of some unseen people: one face, then the faces that are nearest to it, nearest first; a bar below says whether it is the same person
  // (green) or another (red).
  void write_samples(const std::filesystem::path& folder) override {
    const std::int64_t people = std::min<std::int64_t>(context_.world.test_people, 16), shown = std::min<std::int64_t>(8, photos_each * people);
    const at::Tensor order = validation_cosines(people).argsort(1, /*descending=*/true).contiguous();
    const auto nearest = order.accessor<std::int64_t, 2>();
    std::vector<at::Tensor> faces, rows;
    for (std::int64_t i = 0; i < people; ++i) faces.push_back((validation_faces(i) + 1) / 2);
    const at::Tensor all = at::cat(faces);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(8, people); ++i) {
      std::vector<at::Tensor> row;
      for (std::int64_t k = 0; k < shown; ++k) {
        const std::int64_t face = nearest[i * photos_each][k];
        at::Tensor bar = at::zeros({3, 6, all.size(3)});
        bar[face / photos_each == i ? 1 : 0].fill_(1);
        row.push_back(at::cat({all[face], bar}, 1));
      }
      rows.push_back(at::cat(row, 2));
    }
    media::write_png(folder / "nearest-faces.png", at::cat(rows, 1));
  }

  void write() override {
    const auto folder = context_.model / "rewards" / "arcface";
    const auto tensors = trained();
    write_half(folder, config_.to_json(), tensors);
    // What half precision may do to weights shows in what they say about faces.
    const auto placement = models::nn::Placement{context_.placement.device, at::kFloat};
    const at::Tensor faces = validation_faces(0);
    const at::Tensor made =
        rewards::normalise_rows(vision::FaceEmbedder::from_weights(models::nn::Weights::from_tensors(tensors, "face embedder", placement), config_)(faces));
    const at::Tensor written = rewards::normalise_rows(vision::FaceEmbedder::load(folder, placement)(faces));
    const double agreement = (made * written).sum(1).min().item<double>();
    base::check_invariant(agreement > 0.99, folder.string(), ": the written embedder agrees with the trained one by a cosine of ", agreement, " only");
  }

 private:
  objectives::FaceBatch batch(std::uint64_t number, std::int64_t size) const {
    const base::CounterRandom random(context_.seed, "face-embedder-batch");
    std::vector<at::Tensor> faces;
    at::Tensor people = at::empty({size}, at::kLong);
    for (std::int64_t i = 0; i < size; ++i) {
      const auto person =
          static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(people_of(context_, options_)), number, static_cast<std::uint64_t>(i)));
      const auto index = number * static_cast<std::uint64_t>(size) + static_cast<std::uint64_t>(i);
      const auto scene = miniature::draw_scene(context_.person(miniature::Split::train, person), context_.seed, static_cast<std::int64_t>(index));
      miniature::Dice dice(context_.seed, "face-embedder-picture", index);
      faces.push_back(training_face(scene, context_.world, dice));
      people[i] = person;
    }
    return {at::stack(faces), people};
  }

  // Of all pairs of the first `people`'s photos. [N,N], N = photos_each * people
  at::Tensor validation_cosines(std::int64_t people) const {
    const auto embedder = vision::FaceEmbedder::from_weights(
        models::nn::Weights::from_tensors(trained(), "face embedder", models::nn::Placement{context_.placement.device, at::kFloat}), config_);
    std::vector<at::Tensor> embeddings;
    for (std::int64_t i = 0; i < people; ++i) embeddings.push_back(embedder(validation_faces(i)).cpu());
    const at::Tensor all = rewards::normalise_rows(at::cat(embeddings));
    return at::matmul(all, all.t()).contiguous();
  }

  // [photos_each,3,112,112] in -1..1
  at::Tensor validation_faces(std::int64_t person) const {
    std::vector<at::Tensor> faces;
    for (std::int64_t i = 0; i < photos_each; ++i) {
      const auto scene = miniature::draw_scene(context_.person(miniature::Split::test, person), context_.seed, person * photos_each + i);
      faces.push_back(
          exact_crop(scene, context_.world,
                     base::CounterRandom(context_.seed, "face-validation").uniform(static_cast<std::uint64_t>(person), static_cast<std::uint64_t>(i))));
    }
    return at::stack(faces);
  }

  // With the statistics of the same faces every time, from batches that training does not reach.
  storage::NamedTensors trained() const {
    std::vector<at::Tensor> faces;
    for (std::uint64_t i = 0; i < statistics_batches; ++i) faces.push_back(batch((std::uint64_t{1} << 32) + i, statistics_faces).faces);
    return objective_.trained(faces);
  }

  Context context_;
  FaceEmbedderOptions options_;
  vision::FaceEmbedderConfig config_;
  models::nn::Parameters parameters_;
  objectives::FaceMargin objective_;
};

}  // namespace

std::unique_ptr<Network> make_face_embedder(const Context& context, const FaceEmbedderOptions& options) {
  return std::make_unique<FaceEmbedderNetwork>(context, options);
}

}  // namespace magicid::pretraining
