// The file driver with which HDF5 files are written. Internal to storage/.
#pragma once

#include <hdf5.h>

namespace magicid::storage {

// The first error of the operating system while a file was written; 0 when there was none.
struct WriteLog {
  int error_number = 0;
};

// Makes files opened with `access` go through a driver that records write errors in `log` and tells HDF5 that all is well. HDF5 1.10 cannot close a file
// that it could not flush: it keeps the half-closed file, and crashes in its exit handler, so that a full disk would end the program with
// the wrong exit code. What could not be written is kept in memory, so that HDF5 reads back what it wrote; the caller looks at `log` after each
// step, stops, and throws the file away. `log` must outlive the file. Returns a negative value when HDF5 refuses the driver.
herr_t set_write_driver(hid_t access, WriteLog& log);

}  // namespace magicid::storage
