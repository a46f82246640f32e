#include <gtest/gtest.h>

#include <cmath>

#include "miniature/motion.h"
#include "miniature/shapes.h"

namespace magicid::miniature {
namespace {

// Distance functions agree with the outline to first order, and their bounds hold everything inside.
TEST(Shapes, DistancesAreNegativeInsideTheirBoundsOnly) {
  for (const Primitive& p :
       {ellipse(0.1f, 0.2f, 0.5f, 0.3f, 0.4f), circle(0, 0, 0.4f), box(0.1f, -0.1f, 0.5f, 0.2f, 0.1f, -0.7f), segment({-0.3f, 0}, {0.4f, 0.3f}, 0.1f, 0.2f),
        arc(0, -0.2f, 0.6f, 0.8f, 0.05f), polygon({{-0.4f, 0.3f}, {0, -0.5f}, {0.5f, 0.2f}}), polygon({{0.5f, 0.2f}, {0, -0.5f}, {-0.4f, 0.3f}})}) {
    int inside = 0;
    for (float x = -1.5f; x < 1.5f; x += 0.05f) {
      for (float y = -1.5f; y < 1.5f; y += 0.05f) {
        const float d = p.distance(x, y);
        ASSERT_TRUE(std::isfinite(d));
        if (d < 0) {
          ++inside;
          EXPECT_TRUE(p.bounds.contains(x, y, 1e-3f)) << x << ", " << y;
        }
      }
    }
    EXPECT_GT(inside, 10);
  }
  EXPECT_NEAR(circle(1, 0, 0.5f).distance(1, 2), 1.5, 1e-6);
  EXPECT_NEAR(box(0, 0, 1, 2).distance(3, 0), 2, 1e-6);
  EXPECT_NEAR(segment({0, 0}, {1, 0}, 0.25f).distance(0.5f, 1), 0.75, 1e-6);
  EXPECT_NEAR(above(0.5f).distance(7, 0.25f), -0.25, 1e-6);
}

TEST(Shapes, CoverageIsAntialiased) {
  Drawing d;
  d.add(Colour{1, 0, 0}, {box(0, 0, 1, 1)});
  const Shape& square = d.shapes()[0];
  float rgb[3] = {0, 0, 1};
  EXPECT_EQ(d.paint(square, 0.5f, 0, 0.1f, rgb), 1.0f);
  EXPECT_EQ(rgb[0], 1.0f);
  EXPECT_EQ(rgb[2], 0.0f);
  float edge[3] = {0, 0, 1};
  EXPECT_NEAR(d.paint(square, 1.0f, 0, 0.1f, edge), 0.5, 1e-5);
  EXPECT_NEAR(edge[0], 0.5, 1e-5);
  EXPECT_EQ(d.paint(square, 1.2f, 0, 0.1f, edge), 0.0f);
}

TEST(Poses, MapsHaveInverses) {
  BodyPose body;
  body.x = 0.1f;
  body.bend = 0.05f;
  HeadPose head;
  head.x = -0.1f;
  head.y = 0.05f;
  head.cosine = std::cos(0.4f);
  head.sine = std::sin(0.4f);
  head.turn = {0.40f, -0.25f};
  for (float x = -1.6f; x <= 1.6f; x += 0.1f) {
    for (float y = -1.6f; y <= 1.6f; y += 0.1f) {
      const Vec b = body.from_scene(body.to_scene({x, y})), h = head.from_scene(head.to_scene({x, y}));
      EXPECT_NEAR(b.x, x, 1e-4);
      EXPECT_NEAR(b.y, y, 1e-4);
      EXPECT_NEAR(h.x, x, 2e-4);
      EXPECT_NEAR(h.y, y, 2e-4);
    }
  }
}

}  // namespace
}  // namespace magicid::miniature
