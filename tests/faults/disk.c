/* A disk that fails on purpose, laid under a program with LD_PRELOAD. It knows the files of one folder, $DISK_FOLDER:
 *
 * - $DISK_SYNCED is a folder with what would be there after a power cut: of each file what was synced, and no more.
 *   Whoever starts the program fills it with copies of the files first.
 * - While there is a file $DISK_FAULT, what it says happens: "write 28" lets writes fail with this errno, "sync 5" syncs.
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
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What was written since the last sync lies in from..to. */
struct file {
    char name[NAME_MAX + 1];
    off_t from, to;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[16];
static long calls;

/* The file's name in the folder, or NULL if it is none of ours. */
static const char *name_of(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length) || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    const char *ending = strrchr(name, '-');
    return strchr(name, '/') || (ending && !strcmp(ending, "-shm")) ? NULL : name;
}

static struct file *file_of(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    const char *name = name_of(path);
    if (!name) return NULL;
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

static ssize_t changed(struct file *file, int fd, const void *bytes, size_t count, off_t offset) {
    pthread_mutex_lock(&lock);
    if (dies_now()) {
        write_at(fd, bytes, count / 2, offset);
        raise(SIGKILL);
    }
    int number = fault("write");
    ssize_t done = number ? -1 : write_at(fd, bytes, count, offset);
    int after = number ? number : errno;
    if (done > 0) {
        int first = file->from == file->to;
        if (first || offset < file->from) file->from = offset;
        if (first || offset + done > file->to) file->to = offset + done;
    }
    pthread_mutex_unlock(&lock);
    errno = after;
    return done;
}

/* What was changed in the file is safe from now on. */
static void keep(struct file *file, int fd) {
    char path[PATH_MAX], block[65536];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", getenv("DISK_SYNCED"), file->name);
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
    struct file *file = file_of(fd);
    if (!file) return sync(fd);
    pthread_mutex_lock(&lock);
    if (dies_now()) raise(SIGKILL);
    int number = fault("sync");
    /* The disk itself need not be waited for: the machine stays on. */
    if (!number && getenv("DISK_SYNCED")) keep(file, fd);
    pthread_mutex_unlock(&lock);
    errno = number;
    return number ? -1 : 0;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

ssize_t write(int fd, const void *bytes, size_t count) {
    struct file *file = file_of(fd);
    if (!file) return REAL(write)(fd, bytes, count);
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = changed(file, fd, bytes, count, offset);
    if (done > 0) lseek(fd, offset + done, SEEK_SET);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    struct file *file = file_of(fd);
    return file ? changed(file, fd, bytes, count, offset) : write_at(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return pwrite(fd, bytes, count, offset); }

int ftruncate(int fd, off_t length) {
    if (file_of(fd) && dies_now()) raise(SIGKILL);
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

int unlink(const char *path) {
    const char *name = name_of(path);
    if (name && getenv("DISK_SYNCED")) {
        char image[PATH_MAX];
        if (dies_now()) raise(SIGKILL);
        snprintf(image, sizeof image, "%s/%s", getenv("DISK_SYNCED"), name);
        REAL(unlink)(image);
    }
    return REAL(unlink)(path);
}
