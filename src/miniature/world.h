// A small world of cartoon people: everything in it is a function of numbers, so that clips come with exact captions, flow, landmarks and
// face boxes, and any amount of them costs nothing.
//
// F: frames, H: height, W: width. Pixel centres have integer coordinates, x to the right, y down.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace magicid::miniature {

struct Colour {
  float red = 0, green = 0, blue = 0;  // 0..1
};

// People for training and for testing are drawn from the same distribution with different random streams; no person is in both.
enum class Split { train, test };

enum class HairStyle { bald, short_hair, long_hair, bob, curly, spiky, mohawk, bun };
enum class Beard { none, moustache, goatee, full };
enum class Hat { none, cap, beanie, top_hat };
enum class Glasses { none, round, square, dark };
enum class Mark { none, scar, freckles, forehead_dot, blush };

// What makes a person recognisable. Clothes, lighting and place change from scene to scene and are no part of it.
struct Person {
  Colour skin, hair, eyes, lips, hat_colour, glasses_colour;
  HairStyle hair_style = HairStyle::bald;
  Beard beard = Beard::none;
  Hat hat = Hat::none;
  Glasses glasses = Glasses::none;
  Mark mark = Mark::none;
  // Proportions in -1..1 around the middle: face width, jaw, eye distance, eye size, eye height, brow thickness, brow angle, nose size, mouth width, ear size.
  float face_width = 0, jaw = 0, eye_distance = 0, eye_size = 0, eye_height = 0, brow_thickness = 0, brow_angle = 0, nose_size = 0, mouth_width = 0,
        ear_size = 0;
};

// A function of (seed, split, index) alone.
Person make_person(std::uint64_t seed, Split split, std::int64_t index);

enum class Action { stands_still, moves_left, moves_right, jumps, nods, shakes_head, sways, spins_head };
enum class Speed { slowly, steadily, quickly };
enum class Background { beach, forest, city, snow, sunset, room };
enum class Camera { still, zooms_in, zooms_out, pans_left, pans_right };

inline constexpr int actions = 8, speeds = 3, backgrounds = 6, cameras = 5;

// One clip's content. All that is not the person or named in the caption (clothes, lighting, place in the picture, phase of the movement, details of
// the background) is a function of `variation`.
struct Scene {
  Person person;
  Action action = Action::stands_still;
  Speed speed = Speed::steadily;
  Background background = Background::room;
  Camera camera = Camera::still;
  std::uint64_t variation = 0;
};

// A random scene of `person`: a function of (seed, index) and the person. A moving camera is rarer than a still one; stands_still has no speed.
Scene draw_scene(const Person& person, std::uint64_t seed, std::int64_t index);

// "a {subject} moves left quickly in the snow", "..., the camera zooms in". `subject` without article ("person", "sks person").
std::string caption(const Scene& scene, const std::string& subject = "person");
// "a photo of a {subject} in the snow": a single frame shows neither action nor camera movement.
std::string photo_caption(const Scene& scene, const std::string& subject = "person");
// What can be seen of the person: "person with long red hair, round glasses and a cap", for captions of some training clips.
std::string describe_person(const Person& person);
// Twenty prompts for candidate videos and twenty held-out ones for evaluation: every action in both, and no (action, speed, background) of one in the other.
// The scenes hold what their captions say, for real videos of a person to compare with; person and variation are the caller's to set.
std::vector<Scene> training_scenes();
std::vector<Scene> evaluation_scenes();
// Their captions with "{subject}" in place of the subject: "a {subject} moves left quickly in the snow".
std::vector<std::string> training_prompts();
std::vector<std::string> evaluation_prompts();
// The words that captions are made of, for tokenisers; a comma stands behind some of them in captions.
std::vector<std::string> caption_words();

struct ClipSize {
  std::int64_t frames = 13, height = 48, width = 48;
  double fps = 8;
};

struct Clip {
  at::Tensor frames;  // [F,3,H,W] float RGB in 0..1
  at::Tensor flow;  // [F-1,2,H,W] float: pixel p of frame f is found at p + flow (x, y) in frame f+1; the surface's own movement, also where it is hidden there
  at::Tensor landmarks;  // [F,5,2] float (x, y): eye on the picture's left, eye on its right, nose tip, mouth corners left and right
  at::Tensor boxes;      // [F,4] float: left, top, right, bottom of the face from brows to chin and ear to ear (without hair)
};

// Renders a scene at any size, antialiased; the same scene at another size shows the same picture. `with_flow` off leaves flow undefined (it is cheaper).
// Deterministic: the same bytes for the same arguments. One thread.
Clip render(const Scene& scene, const ClipSize& size, bool with_flow = true);

// One frame of the scene at time 0..1 of its clip: [3,H,W]; with landmarks [5,2] and box [4] as above. For photos and face crops.
struct Photo {
  at::Tensor image, landmarks, box;
};
Photo render_photo(const Scene& scene, double time, std::int64_t height, std::int64_t width);

}  // namespace magicid::miniature
