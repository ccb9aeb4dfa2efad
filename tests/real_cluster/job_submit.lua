-- A site that refuses memory requests, as some do whose jobs get whole nodes.
function slurm_job_submit(job, partitions, user)
  if job.min_mem_per_node ~= nil or job.min_mem_per_cpu ~= nil then
    slurm.log_user("memory requests (--mem) are not allowed here")
    return slurm.ERROR
  end
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, user)
  return slurm.SUCCESS
end

return slurm.SUCCESS
