#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>

#include "base/errors.h"
#include "media/faces.h"
#include "media/image.h"

namespace magicid::media {
namespace {

using base::UserError;

// OpenCV prints its own errors beside throwing them; ours name the file and the remedy.
class QuietOpenCV {
 public:
  QuietOpenCV() : level_(cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT)) {}
  ~QuietOpenCV() { cv::utils::logging::setLogLevel(level_); }

 private:
  cv::utils::logging::LogLevel level_;
};

void sort_by_size(std::vector<FaceDetection>& faces) {
  std::stable_sort(faces.begin(), faces.end(), [](const FaceDetection& a, const FaceDetection& b) { return a.box.area() > b.box.area(); });
}

void scale_to(const cv::Mat& source, cv::Mat& target, double factor) {
  const cv::Size size(std::max(1, static_cast<int>(std::lround(source.cols * factor))), std::max(1, static_cast<int>(std::lround(source.rows * factor))));
  cv::resize(source, target, size, 0, 0, factor < 1 ? cv::INTER_AREA : cv::INTER_CUBIC);
}

class NoDetector final : public FaceDetector {
 public:
  std::vector<FaceDetection> detect(const at::Tensor& image) override {
    FaceDetection whole;
    whole.box = {0, 0, static_cast<double>(image.size(2)), static_cast<double>(image.size(1))};
    whole.score = 1;
    whole.whole_image = true;
    return {whole};
  }
  std::string name() const override { return "none"; }
};

// P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001, as OpenCV implements it.
class HaarDetector final : public FaceDetector {
 public:
  explicit HaarDetector(const std::filesystem::path& file) {
    const QuietOpenCV quiet;
    bool loaded = false;
    try {
      loaded = cascade_.load(file.string());
    } catch (const cv::Exception& error) {
      if (base::is_out_of_memory(error)) throw;
    }
    if (!loaded) throw UserError(file.string(), ": OpenCV cannot read this as a face cascade; expected haarcascade_frontalface_alt2.xml or one like it.");
  }

  std::vector<FaceDetection> detect(const at::Tensor& image) override {
    const at::Tensor bytes = to_bytes_hwc(image);
    const cv::Mat rgb(static_cast<int>(bytes.size(0)), static_cast<int>(bytes.size(1)), CV_8UC3, bytes.data_ptr());
    cv::Mat grey, scaled;
    cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
    // Cascades see windows of 20 pixels and more: small frames are enlarged; photos are shrunk, which costs nothing for faces of interest.
    const double longest = std::max(grey.cols, grey.rows), shortest = std::min(grey.cols, grey.rows);
    double factor = std::min(1.0, 640 / longest);
    if (shortest < 200) factor = std::min(200 / shortest, 640 / longest);
    scale_to(grey, scaled, factor);
    cv::equalizeHist(scaled, scaled);
    std::vector<cv::Rect> boxes;
    std::vector<int> levels;
    std::vector<double> weights;
    cascade_.detectMultiScale(scaled, boxes, levels, weights, /*scaleFactor=*/1.1, /*minNeighbors=*/4, 0, cv::Size(24, 24), cv::Size(), true);
    std::vector<FaceDetection> faces;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      FaceDetection face;
      face.box = {boxes[i].x / factor, boxes[i].y / factor, boxes[i].width / factor, boxes[i].height / factor};
      face.score = weights[i];
      faces.push_back(face);
    }
    sort_by_size(faces);
    return faces;
  }
  std::string name() const override { return "haar"; }

 private:
  cv::CascadeClassifier cascade_;
};

// YuNet (Wu, Peng, Yu: "YuNet: a tiny millisecond-level face detector", 2023) through OpenCV's FaceDetectorYN.
class YuNetDetector final : public FaceDetector {
 public:
  YuNetDetector(const std::filesystem::path& file, double score_threshold) {
    if (!std::filesystem::is_regular_file(file))
      throw UserError(file.string(), ": there is no such file; face_detector.file must name face_detection_yunet_2022mar.onnx (opencv_zoo).");
    const QuietOpenCV quiet;
    try {
      network_ = cv::FaceDetectorYN::create(file.string(), "", cv::Size(320, 320), static_cast<float>(score_threshold), 0.3f, 5000);
      cv::Mat faces;  // the outputs' names are only looked up now
      network_->detect(cv::Mat(320, 320, CV_8UC3, cv::Scalar(128, 128, 128)), faces);
    } catch (const cv::Exception& error) {
      if (base::is_out_of_memory(error)) throw;
      throw UserError(file.string(), ": OpenCV ", CV_VERSION, " cannot run this file as YuNet (", error.err,
                      "). OpenCV 4.5.4 to 4.7 read face_detection_yunet_2022mar.onnx only, 4.8 and later face_detection_yunet_2023mar.onnx.");
    }
  }

  std::vector<FaceDetection> detect(const at::Tensor& image) override {
    const at::Tensor bytes = to_bytes_hwc(image);
    const cv::Mat rgb(static_cast<int>(bytes.size(0)), static_cast<int>(bytes.size(1)), CV_8UC3, bytes.data_ptr());
    cv::Mat bgr;
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    // It was trained on faces up to about 300 pixels: large photos are shrunk, and looked at once more in detail when nothing is found.
    std::vector<FaceDetection> faces = detect_at(bgr, 640);
    if (faces.empty() && std::max(bgr.cols, bgr.rows) > 640) faces = detect_at(bgr, 1280);
    return faces;
  }
  std::string name() const override { return "yunet"; }

 private:
  std::vector<FaceDetection> detect_at(const cv::Mat& bgr, double longest) {
    const double length = std::max(bgr.cols, bgr.rows);
    const double factor = length > longest ? longest / length : length < 320 ? 320 / length : 1.0;
    cv::Mat scaled, rows;
    scale_to(bgr, scaled, factor);
    if (scaled.rows < 128 || scaled.cols < 128)  // the network's last map would be empty
      cv::copyMakeBorder(scaled, scaled, 0, std::max(0, 128 - scaled.rows), 0, std::max(0, 128 - scaled.cols), cv::BORDER_CONSTANT);
    network_->setInputSize(scaled.size());
    network_->detect(scaled, rows);
    std::vector<FaceDetection> faces;
    for (int i = 0; i < rows.rows; ++i) {
      const float* row = rows.ptr<float>(i);  // x, y, w, h, five landmarks (the person's right eye first), score
      FaceDetection face;
      face.box = {row[0] / factor, row[1] / factor, row[2] / factor, row[3] / factor};
      face.landmarks.emplace();
      for (int k = 0; k < 5; ++k) (*face.landmarks)[k] = {(row[4 + 2 * k] + 0.5) / factor - 0.5, (row[5 + 2 * k] + 0.5) / factor - 0.5};
      face.score = row[14];
      faces.push_back(face);
    }
    sort_by_size(faces);
    return faces;
  }

  cv::Ptr<cv::FaceDetectorYN> network_;
};

std::filesystem::path find_cascade() {
  const std::string name = "haarcascade_frontalface_alt2.xml";
  std::vector<std::filesystem::path> folders;
  if (const char* given = std::getenv("MAGICID_HAARCASCADES"); given && *given) folders.emplace_back(given);
  for (const char* prefix : {"/usr/share", "/usr/local/share", "/opt/homebrew/share"})
    for (const char* package : {"opencv4", "opencv", "OpenCV"}) folders.push_back(std::filesystem::path(prefix) / package / "haarcascades");
  std::string searched;
  for (const auto& folder : folders) {
    if (std::filesystem::is_regular_file(folder / name)) return folder / name;
    searched += (searched.empty() ? "" : ", ") + folder.string();
  }
  throw UserError(name, " was not found in ", searched,
                  ". Install OpenCV's data (Debian: apt-get install opencv-data), set MAGICID_HAARCASCADES to its folder, or give face_detector.file.");
}

}  // namespace

std::filesystem::path face_detector_file(const DetectorOptions& options) {
  if (options.kind == "haar") return options.file.empty() ? find_cascade() : std::filesystem::path(options.file);
  if (options.kind == "yunet") return options.file;
  return {};
}

std::unique_ptr<FaceDetector> make_face_detector(const DetectorOptions& options) {
  if (options.kind == "none") return only_with_texture(std::make_unique<NoDetector>());
  if (options.kind == "yunet") return only_with_texture(std::make_unique<YuNetDetector>(face_detector_file(options), score_threshold_of(options)));
  if (options.kind == "haar") return only_with_texture(std::make_unique<HaarDetector>(face_detector_file(options)));
  base::check_invariant(options.kind != "landmarks", "the detector of landmarks is made from its network, by rewards::landmark_face_detector");
  throw UserError("face_detector.kind: \"", options.kind, "\" is not a face detector; expected haar, yunet or none.");
}

}  // namespace magicid::media
