#include <initializer_list>
#include <string>
#include <vector>

#include "miniature/world.h"

namespace magicid::miniature {
namespace {

struct Prompt {
  Action action;
  Speed speed;
  Background background;
  Camera camera = Camera::still;
};

std::vector<Scene> scenes_of(std::initializer_list<Prompt> prompts) {
  std::vector<Scene> scenes;
  for (const Prompt& p : prompts) {
    Scene s;
    s.action = p.action;
    s.speed = p.speed;
    s.background = p.background;
    s.camera = p.camera;
    scenes.push_back(s);
  }
  return scenes;
}

std::vector<std::string> captions_of(const std::vector<Scene>& scenes) {
  std::vector<std::string> texts;
  for (const Scene& s : scenes) texts.push_back(caption(s, "{subject}"));
  return texts;
}

}  // namespace

std::vector<Scene> training_scenes() {
  using enum Action;
  using enum Speed;
  using enum Background;
  using enum Camera;
  return scenes_of({{moves_left, quickly, beach},
                    {moves_left, steadily, forest},
                    {moves_left, slowly, room},
                    {moves_right, quickly, city},
                    {moves_right, steadily, snow},
                    {moves_right, slowly, sunset, zooms_in},
                    {jumps, quickly, sunset},
                    {jumps, steadily, city},
                    {jumps, slowly, beach},
                    {nods, quickly, room},
                    {nods, steadily, sunset, zooms_out},
                    {nods, slowly, snow},
                    {shakes_head, quickly, forest},
                    {shakes_head, steadily, beach},
                    {sways, quickly, snow},
                    {sways, steadily, room},
                    {sways, slowly, city, pans_left},
                    {spins_head, quickly, beach},
                    {spins_head, steadily, forest, pans_right},
                    {stands_still, steadily, snow, zooms_in}});
}

std::vector<Scene> evaluation_scenes() {
  using enum Action;
  using enum Speed;
  using enum Background;
  using enum Camera;
  return scenes_of({{moves_left, quickly, snow},
                    {moves_left, steadily, city},
                    {moves_left, slowly, sunset},
                    {moves_right, quickly, forest},
                    {moves_right, steadily, room},
                    {moves_right, slowly, beach, zooms_out},
                    {jumps, quickly, room},
                    {jumps, steadily, snow},
                    {jumps, slowly, forest},
                    {nods, quickly, beach},
                    {nods, steadily, city, zooms_in},
                    {nods, slowly, forest},
                    {shakes_head, quickly, sunset},
                    {shakes_head, steadily, snow},
                    {sways, quickly, beach},
                    {sways, steadily, sunset},
                    {sways, slowly, room, pans_right},
                    {spins_head, quickly, city},
                    {spins_head, steadily, room, pans_left},
                    {stands_still, steadily, sunset, zooms_out}});
}

std::vector<std::string> training_prompts() { return captions_of(training_scenes()); }
std::vector<std::string> evaluation_prompts() { return captions_of(evaluation_scenes()); }

}  // namespace magicid::miniature
