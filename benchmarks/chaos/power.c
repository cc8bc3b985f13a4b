/* Writes down, in order, what a process does to the files of one folder, so that power.py can take back whatever was
 * not synced. Loaded into the core with LD_PRELOAD; it changes nothing of what is done.
 *
 * A record is a header and `size` bytes. A write is told before it is made, a sync and an opening after: a process
 * that is killed in between has promised nothing. One lock keeps the order, so at most the last record is in question.
 * What it does not see (a mapped file, say), power.py finds when it compares.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    uint64_t what, inode, at, size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_size;
static int journal = -1;
static const char *orders;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CHAOS_FOLDER"), *file = getenv("CHAOS_JOURNAL");
    if (!name || !file) return;
    orders = getenv("CHAOS_ORDERS");
    folder_size = snprintf(folder, sizeof folder, "%s/", name);
    journal = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int inside(const char *path) { return journal >= 0 && path && strncmp(path, folder, folder_size) == 0; }

/* Whether a descriptor is of a file in the folder; its state is put into `status`, its path into `path`. */
static int ours(int fd, struct stat *status, char *path) {
    int before = errno, found = 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = journal < 0 ? -1 : readlink(link, path, PATH_MAX - 1);
    if (size > 0) {
        path[size] = 0;
        /* The folder itself is synced, too. */
        int self = (size_t)size == folder_size - 1 && strncmp(path, folder, size) == 0;
        found = (self || inside(path)) && fstat(fd, status) == 0;
    }
    errno = before;
    return found;
}

static void tell(char what, uint64_t inode, uint64_t at, const struct iovec *parts, int count) {
    int before = errno;
    struct iovec all[64];
    struct record head = {what, inode, at, 0};
    all[0] = (struct iovec){&head, sizeof head};
    if (count > 63) abort();
    for (int part = 0; part < count; part++) {
        all[part + 1] = parts[part];
        head.size += parts[part].iov_len;
    }
    if (syscall(SYS_writev, journal, all, count + 1) != (long)(head.size + sizeof head)) abort();
    errno = before;
}

static void tell_text(char what, uint64_t inode, const char *one, const char *two) {
    struct iovec parts[] = {{(char *)one, strlen(one) + 1}, {(char *)two, two ? strlen(two) + 1 : 0}};
    tell(what, inode, 0, parts, 2);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static uint64_t place(int fd, const struct stat *status) {
    return fcntl(fd, F_GETFL) & O_APPEND ? (uint64_t)status->st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
}

#define WRITES(name, parameters, arguments, at, parts, count)                                                          \
    ssize_t name parameters {                                                                                          \
        struct stat status;                                                                                            \
        char path[PATH_MAX];                                                                                           \
        if (!ours(fd, &status, path) || !S_ISREG(status.st_mode)) return REAL(name) arguments;                         \
        pthread_mutex_lock(&lock);                                                                                     \
        fstat(fd, &status);                                                                                            \
        tell('W', status.st_ino, at, parts, count);                                                                    \
        ssize_t done = REAL(name) arguments;                                                                           \
        pthread_mutex_unlock(&lock);                                                                                   \
        return done;                                                                                                   \
    }

#define ONE (&(struct iovec){(void *)data, size})
WRITES(write, (int fd, const void *data, size_t size), (fd, data, size), place(fd, &status), ONE, 1)
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), at, ONE, 1)
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), at, ONE, 1)
WRITES(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), place(fd, &status), parts, count)
WRITES(pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at), at, parts, count)
WRITES(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at), at, parts, count)

#define CHANGES(name, what, parameters, arguments, at, size)                                                           \
    int name parameters {                                                                                              \
        struct stat status;                                                                                            \
        char path[PATH_MAX];                                                                                           \
        if (!ours(fd, &status, path)) return REAL(name) arguments;                                                     \
        pthread_mutex_lock(&lock);                                                                                     \
        uint64_t more = size;                                                                                          \
        tell(what, status.st_ino, at, &(struct iovec){&more, sizeof more}, 1);                                         \
        int done = REAL(name) arguments;                                                                               \
        pthread_mutex_unlock(&lock);                                                                                   \
        return done;                                                                                                   \
    }

#define HOLE (mode & FALLOC_FL_PUNCH_HOLE ? 'Z' : 'G')
CHANGES(ftruncate, 'T', (int fd, off_t size), (fd, size), size, 0)
CHANGES(ftruncate64, 'T', (int fd, off64_t size), (fd, size), size, 0)
CHANGES(fallocate, HOLE, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), at, size)
CHANGES(fallocate64, HOLE, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size), at, size)
CHANGES(posix_fallocate, 'G', (int fd, off_t at, off_t size), (fd, at, size), at, size)

/* Die instead of syncing if somebody has asked for it: the file of orders says at which sync from then on. */
static void maybe_die(void) {
    static long passed = 0;
    char text[16] = "";
    int before = errno, fd = orders ? syscall(SYS_openat, AT_FDCWD, orders, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        long size = syscall(SYS_read, fd, text, sizeof text - 1);
        syscall(SYS_close, fd);
        if (size > 0 && ++passed >= atol(text)) syscall(SYS_kill, getpid(), SIGKILL);
    }
    errno = before;
}

#define SYNCS(name)                                                                                                    \
    int name(int fd) {                                                                                                 \
        struct stat status;                                                                                            \
        char path[PATH_MAX];                                                                                           \
        if (!ours(fd, &status, path)) return REAL(name)(fd);                                                           \
        pthread_mutex_lock(&lock);                                                                                     \
        maybe_die();                                                                                                   \
        int done = REAL(name)(fd);                                                                                     \
        if (done == 0) tell('S', status.st_ino, 0, NULL, 0);                                                           \
        pthread_mutex_unlock(&lock);                                                                                   \
        return done;                                                                                                   \
    }

SYNCS(fsync)
SYNCS(fdatasync)

/* An opening matters if it makes a file or empties one. */
#define OPENS(name, parameters, first, before)                                                                         \
    int name parameters {                                                                                              \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list more;                                                                                              \
            va_start(more, flags);                                                                                     \
            mode = va_arg(more, mode_t);                                                                               \
            va_end(more);                                                                                              \
        }                                                                                                              \
        if (journal < 0 || !(flags & (O_CREAT | O_TRUNC))) return REAL(name)(before first, flags, mode);               \
        struct stat status;                                                                                            \
        char path[PATH_MAX];                                                                                           \
        pthread_mutex_lock(&lock);                                                                                     \
        int fd = REAL(name)(before first, flags, mode);                                                                \
        if (fd >= 0 && ours(fd, &status, path) && S_ISREG(status.st_mode)) {                                           \
            tell_text('C', status.st_ino, path, NULL);                                                                 \
            uint64_t none = 0;                                                                                         \
            if (flags & O_TRUNC) tell('T', status.st_ino, 0, &(struct iovec){&none, sizeof none}, 1);                  \
        }                                                                                                              \
        pthread_mutex_unlock(&lock);                                                                                   \
        return fd;                                                                                                     \
    }

#define AT dir,
#define HERE
OPENS(open, (const char *name_, int flags, ...), name_, HERE)
OPENS(open64, (const char *name_, int flags, ...), name_, HERE)
OPENS(openat, (int dir, const char *name_, int flags, ...), name_, AT)
OPENS(openat64, (int dir, const char *name_, int flags, ...), name_, AT)

#define NAMES(name, what, parameters, arguments, one, two)                                                             \
    int name parameters {                                                                                              \
        const char *other = two;                                                                                       \
        if (!inside(one) && !inside(other)) return REAL(name) arguments;                                               \
        pthread_mutex_lock(&lock);                                                                                     \
        tell_text(what, 0, one, other);                                                                                \
        int done = REAL(name) arguments;                                                                               \
        if (done != 0) tell_text('F', 0, one, other);                                                                  \
        pthread_mutex_unlock(&lock);                                                                                   \
        return done;                                                                                                   \
    }

NAMES(rename, 'R', (const char *from, const char *to), (from, to), from, to)
NAMES(renameat, 'R', (int a, const char *from, int b, const char *to), (a, from, b, to), from, to)
NAMES(link, 'L', (const char *from, const char *to), (from, to), from, to)
NAMES(linkat, 'L', (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), from, to)
NAMES(unlink, 'U', (const char *path), (path), path, NULL)
NAMES(unlinkat, 'U', (int dir, const char *path, int flags), (dir, path, flags), path, NULL)
NAMES(remove, 'U', (const char *path), (path), path, NULL)
