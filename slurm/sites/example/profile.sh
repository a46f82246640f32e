# shellcheck shell=bash
# What slurm/magicid.sbatch needs to know of a site: copy this folder to slurm/sites/YOUR_SITE/ and edit. Read with `.` by the job script.

# Compiler, MPI and libraries that magicid was built with.
#   module load gcc/13 openmpi/4.1 hdf5/1.14 ffmpeg opencv

# How srun starts MPI ranks here: `srun --mpi=list` names the choices. Open MPI 4.1 takes pmix, or pmi2 where it was built with it.
export MAGICID_SRUN_FLAGS="--mpi=pmix"

# The network interfaces that NCCL's start-up and Open MPI's TCP may use, if the automatic choice picks a management network.
#   export NCCL_SOCKET_IFNAME=ib0
#   export OMPI_MCA_btl_tcp_if_include=ib0

# InfiniBand adapters for NCCL, when not all of them carry data.
#   export NCCL_IB_HCA=mlx5_0,mlx5_1
