/* A disk that fails on purpose, laid under a program with LD_PRELOAD. It knows the files of one folder, $DISK_FOLDER:
 *
 * - $DISK_SYNCED, if set, is a folder with what would be there after a power cut: of each file what was synced, and no
 *   more, and by its new name only once the folder was synced. Whoever starts the program fills it with copies of the files
 *   first.
 * - While there is a file $DISK_FAULT, what it says happens: "write 28" lets all writes fail with this errno, "extend 28"
 *   those that make a file longer, "sync 5" syncs.
 * - At the call of number $DISK_KILL_AT that changes something, half of it is done and the program is killed.
 *
 * Not the -shm of SQLite: it is mapped memory, and made anew after a crash.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What was written since the last sync lies in from..to. */
struct file {
    char name[NAME_MAX + 1];
    off_t from, to;
};

/* A name that was given since the folder was synced. */
struct renaming {
    char from[NAME_MAX + 1], to[NAME_MAX + 1];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[16];
static struct renaming renamings[16];
static int renamed;
static long calls;

/* The file's name in the folder, or NULL if it is none of ours. */
static const char *name_of(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length) || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    const char *ending = strrchr(name, '-');
    return ending && !strcmp(ending, "-shm") ? NULL : name;
}

/* The same of an open file; the name is kept in the buffer. */
static const char *name_of_open(int fd, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return name_of(path);
}

/* With the lock held. */
static struct file *file_named(const char *name) {
    for (struct file *file = files; file < files + 16; file++) {
        if (!file->name[0]) snprintf(file->name, sizeof file->name, "%s", name);
        if (!strcmp(file->name, name)) return file;
    }
    abort();
}

/* The errno with which this kind of call is to fail now, or 0. */
static int fault(const char *kind) {
    char text[32] = "", wanted[16] = "";
    int number = 0;
    int fd = getenv("DISK_FAULT") ? open(getenv("DISK_FAULT"), O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0;
    if (read(fd, text, sizeof text - 1) > 0) sscanf(text, "%15s %d", wanted, &number);
    close(fd);
    return strcmp(wanted, kind) ? 0 : number;
}

static int dies_now(void) {
    const char *at = getenv("DISK_KILL_AT");
    return ++calls == (at ? atol(at) : 0);
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t offset) {
    return REAL(pwrite)(fd, bytes, count, offset);
}

/* The errno with which a write of so many bytes is to fail now, or 0. */
static int refusal(int fd, off_t offset, size_t count) {
    struct stat status;
    int number = fault("write");
    if (number || fstat(fd, &status) || offset + (off_t)count <= status.st_size) return number;
    return fault("extend");
}

static ssize_t changed(const char *name, int fd, const void *bytes, size_t count, off_t offset) {
    pthread_mutex_lock(&lock);
    if (dies_now()) {
        write_at(fd, bytes, count / 2, offset);
        raise(SIGKILL);
    }
    int number = refusal(fd, offset, count);
    ssize_t done = number ? -1 : write_at(fd, bytes, count, offset);
    int after = number ? number : errno;
    if (done > 0 && getenv("DISK_SYNCED")) {
        struct file *file = file_named(name);
        int first = file->from == file->to;
        if (first || offset < file->from) file->from = offset;
        if (first || offset + done > file->to) file->to = offset + done;
    }
    pthread_mutex_unlock(&lock);
    errno = after;
    return done;
}

/* The name by which a file is found after a power cut. */
static const char *synced_name(const char *name) {
    for (int i = renamed - 1; i >= 0; i--) {
        if (!strcmp(renamings[i].to, name)) name = renamings[i].from;
    }
    return name;
}

/* If it is the folder itself, its names are safe from now on. */
static void keep_names(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    if (!getenv("DISK_FOLDER") || strcmp(path, getenv("DISK_FOLDER"))) return;
    int images = open(getenv("DISK_SYNCED"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (struct renaming *each = renamings; each < renamings + renamed; each++) {
        /* What was never synced is not there. */
        if (renameat(images, each->from, images, each->to)) unlinkat(images, each->to, 0);
    }
    close(images);
    renamed = 0;
}

/* What was changed in the file is safe from now on. */
static void keep(struct file *file, int fd) {
    char path[PATH_MAX], block[65536];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", getenv("DISK_SYNCED"), synced_name(file->name));
    int image = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    /* The descriptor may be for writing only. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int source = open(path, O_RDONLY | O_CLOEXEC);
    if (image < 0 || source < 0 || fstat(source, &status)) abort();
    for (off_t at = file->from; at < file->to;) {
        size_t wanted = file->to - at < (off_t)sizeof block ? (size_t)(file->to - at) : sizeof block;
        ssize_t got = pread(source, block, wanted, at);
        if (got <= 0) break;
        if (write_at(image, block, got, at) != got) abort();
        at += got;
    }
    if (REAL(ftruncate)(image, status.st_size)) abort();
    close(source);
    close(image);
    file->from = file->to = 0;
}

static int synced(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    const char *name = name_of_open(fd, path);
    if (!name) {
        pthread_mutex_lock(&lock);
        if (getenv("DISK_SYNCED")) keep_names(fd);
        pthread_mutex_unlock(&lock);
        return sync(fd);
    }
    pthread_mutex_lock(&lock);
    if (dies_now()) raise(SIGKILL);
    int number = fault("sync");
    /* The disk itself need not be waited for: the machine stays on. */
    if (!number && getenv("DISK_SYNCED")) keep(file_named(name), fd);
    pthread_mutex_unlock(&lock);
    errno = number;
    return number ? -1 : 0;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

ssize_t write(int fd, const void *bytes, size_t count) {
    char path[PATH_MAX];
    const char *name = name_of_open(fd, path);
    if (!name) return REAL(write)(fd, bytes, count);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = changed(name, fd, bytes, count, offset);
    if (done > 0) lseek(fd, offset + done, SEEK_SET);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    char path[PATH_MAX];
    const char *name = name_of_open(fd, path);
    return name ? changed(name, fd, bytes, count, offset) : write_at(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }

/* The next two are PostgreSQL's: they only fail. */
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    char path[PATH_MAX];
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    int number = name_of_open(fd, path) ? refusal(fd, offset, bytes) : 0;
    if (!number) return REAL(pwritev)(fd, parts, count, offset);
    errno = number;
    return -1;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

int posix_fallocate(int fd, off_t offset, off_t count) {
    char path[PATH_MAX];
    int number = name_of_open(fd, path) ? refusal(fd, offset, count) : 0;
    return number ? number : REAL(posix_fallocate)(fd, offset, count);
}

int posix_fallocate64(int fd, off64_t offset, off64_t count) { return posix_fallocate(fd, offset, count); }

int ftruncate(int fd, off_t length) {
    char path[PATH_MAX];
    if (name_of_open(fd, path) && dies_now()) raise(SIGKILL);
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int rename(const char *from, const char *to) {
    const char *one = name_of(from), *other = name_of(to);
    pthread_mutex_lock(&lock);
    int done = REAL(rename)(from, to);
    if (!done && one && other && getenv("DISK_SYNCED")) {
        if (renamed == 16) abort();
        snprintf(renamings[renamed].from, NAME_MAX + 1, "%s", one);
        snprintf(renamings[renamed++].to, NAME_MAX + 1, "%s", other);
        /* What is still to be synced goes with it. */
        struct file *file = file_named(one), *former = file_named(other);
        snprintf(file->name, sizeof file->name, "%s", other);
        snprintf(former->name, sizeof former->name, "%s", one);
        former->from = former->to = 0;
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    const char *name = name_of(path);
    if (name && dies_now()) raise(SIGKILL);
    if (name && getenv("DISK_SYNCED")) {
        char image[PATH_MAX];
        snprintf(image, sizeof image, "%s/%s", getenv("DISK_SYNCED"), name);
        REAL(unlink)(image);
    }
    return REAL(unlink)(path);
}
