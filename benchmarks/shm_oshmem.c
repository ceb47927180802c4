/* shmem_putmem and shmem_getmem, for shm_bench's bars: prints JSON {case: [ns, ...]} on PE 0 of 2.
 * Argument: seconds a case. Compiled by run.py with oshcc where OpenMPI's OpenSHMEM is installed
 * (libopenmpi-dev, openmpi-bin); nothing else needs it. */
#include <shmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kRepetitions = 7, kCases = 6 };
static const size_t kBytes[kCases] = {8, 65536, 64u << 20, 8, 65536, 64u << 20};
static const char* const kNames[kCases] = {"shm_put_8B", "shm_put_64KiB", "shm_put_64MiB",
                                           "shm_get_8B", "shm_get_64KiB", "shm_get_64MiB"};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double measure(int put, char* theirs, char* ours, size_t bytes, double seconds) {
  double begin = now(), end = begin;
  long calls = 0;
  for (long batch = 1; end - begin < seconds * 1e9; batch *= 2, end = now()) {
    for (long i = 0; i < batch; ++i) {
      if (put) {
        shmem_putmem(theirs, ours, bytes, 1);
        shmem_quiet(); /* in place, as our put is when it returns */
      } else {
        shmem_getmem(ours, theirs, bytes, 1);
      }
    }
    calls += batch;
  }
  return (end - begin) / (double)calls;
}

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.05;
  shmem_init();
  int own = shmem_my_pe();
  char* symmetric = shmem_malloc(kBytes[2]);
  char* local = aligned_alloc(64, kBytes[2]);
  memset(local, 'x', kBytes[2]);
  shmem_barrier_all();
  static double times[kCases][kRepetitions];
  if (own == 0) {
    for (int repetition = 0; repetition < kRepetitions; ++repetition)
      for (int i = 0; i < kCases; ++i)
        times[i][repetition] = measure(i < kCases / 2, symmetric, local, kBytes[i], seconds);
    for (int i = 0; i < kCases; ++i) {
      printf("%s\"%s\": [", i == 0 ? "{" : ", ", kNames[i]);
      for (int repetition = 0; repetition < kRepetitions; ++repetition)
        printf("%s%f", repetition == 0 ? "" : ", ", times[i][repetition]);
      printf("]");
    }
    printf("}\n");
  }
  fflush(stdout);
  shmem_barrier_all();
  shmem_global_exit(0); /* shmem_finalize of Debian 12's OpenMPI 4.1.4 crashes in its UCX */
}
