// A test that may open only what any user may: root, which tests often run as, can open everything.
#pragma once

#include <unistd.h>

namespace magicid::tests {

// While it lives, the process is the user "nobody" for the file system where it was root before. All threads are.
class WithoutRights {
 public:
  WithoutRights() : changed_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
  ~WithoutRights() {
    if (changed_ && ::seteuid(0) != 0) ::_exit(1);
  }
  WithoutRights(const WithoutRights&) = delete;
  WithoutRights& operator=(const WithoutRights&) = delete;

  // False where root could not become anybody else (a container without other users): the test is to be skipped.
  bool given_up() const { return ::geteuid() != 0; }

 private:
  bool changed_;
};

}  // namespace magicid::tests
