/* MPI_Barrier and MPI_Allgather, for shm_bench's bars: prints JSON {case: [ns, ...]} on rank 0.
 * Argument: seconds a case. Compiled by run.py with mpicc where OpenMPI is installed
 * (libopenmpi-dev, openmpi-bin); nothing else needs it. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char block[65536];
static char* all;

static void call(int bytes) {
  if (bytes == 0)
    MPI_Barrier(MPI_COMM_WORLD);
  else
    MPI_Allgather(block, bytes, MPI_CHAR, all, bytes, MPI_CHAR, MPI_COMM_WORLD);
}

static double measure(int bytes, double seconds) {
  enum { kTrial = 200 };
  double begin = MPI_Wtime();
  for (int i = 0; i < kTrial; ++i) call(bytes);
  long calls = (long)(seconds / ((MPI_Wtime() - begin) / kTrial));
  if (calls < kTrial) calls = kTrial;
  MPI_Bcast(&calls, 1, MPI_LONG, 0, MPI_COMM_WORLD);
  begin = MPI_Wtime();
  for (long i = 0; i < calls; ++i) call(bytes);
  return (MPI_Wtime() - begin) / (double)calls * 1e9;
}

int main(int argc, char** argv) {
  static const int kBytes[] = {0, 8, 65536};
  static const char* const kNames[] = {"shm_barrier", "shm_all_gather_8B", "shm_all_gather_64KiB"};
  enum { kRepetitions = 7 };
  double times[3][kRepetitions];
  int rank, ranks;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  all = malloc((size_t)ranks * sizeof(block));
  double seconds = argc > 1 ? atof(argv[1]) : 0.05;
  for (int repetition = 0; repetition < kRepetitions; ++repetition)
    for (int i = 0; i < 3; ++i) times[i][repetition] = measure(kBytes[i], seconds);
  if (rank == 0) {
    for (int i = 0; i < 3; ++i) {
      printf("%s\"%s\": [", i == 0 ? "{" : ", ", kNames[i]);
      for (int repetition = 0; repetition < kRepetitions; ++repetition)
        printf("%s%f", repetition == 0 ? "" : ", ", times[i][repetition]);
      printf("]");
    }
    printf("}\n");
  }
  MPI_Finalize();
  return 0;
}
