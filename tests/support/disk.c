/* Preloaded into a gateway: makes its disk calls fail or wait, as the file named by TESTS_DISK says. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum { SYNC = 1, WRITE = 2, TEAR = 4 };

/* The test sets `failing` and `waiting`: the kinds of call, as bits, that fail and that wait. It reads `failed` and
 * `waiters`: how many calls have failed and how many are waiting. */
static struct { _Atomic int32_t failing, waiting, failed, waiters; } *disk;

__attribute__((constructor)) static void map_disk(void) {
    int file = open(getenv("TESTS_DISK"), O_RDWR | O_CLOEXEC);
    disk = mmap(NULL, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (disk == MAP_FAILED) abort();
    close(file);
}

static int fails(int32_t what) {
    if (disk->waiting & what) {
        disk->waiters++;
        while (disk->waiting & what) usleep(1000);
        disk->waiters--;
    }
    if (!(disk->failing & what)) return 0;
    disk->failed++;
    errno = EIO;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fdatasync(int file) { return fails(SYNC) ? -1 : REAL(fdatasync)(file); }

int fsync(int file) { return fails(SYNC) ? -1 : REAL(fsync)(file); }

int sync_file_range(int file, off64_t from, off64_t count, unsigned flags) {
    return fails(SYNC) ? -1 : REAL(sync_file_range)(file, from, count, flags);
}

int ftruncate64(int file, off64_t length) { return fails(WRITE) ? -1 : REAL(ftruncate64)(file, length); }

/* A torn write: the first half is written, then every write and sync fails. */
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    if (disk->failing & TEAR && count > 1) {
        disk->failing = WRITE | SYNC;
        disk->failed++;
        return REAL(pwrite64)(file, bytes, count / 2, at);
    }
    return fails(WRITE) ? -1 : REAL(pwrite64)(file, bytes, count, at);
}
