/* A file system without locks, for LD_PRELOAD: flock fails with the error named by NOLOCKS_ERRNO. */
#include <errno.h>
#include <stdlib.h>

int flock(int descriptor, int operation) {
    (void)descriptor;
    (void)operation;
    errno = atoi(getenv("NOLOCKS_ERRNO"));
    return -1;
}
