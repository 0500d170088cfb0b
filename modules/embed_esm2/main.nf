// Embeds the proteins of one chunk with ESM-2: one task, one device.
process EMBED_ESM2 {
    tag "${sample}:${chunk.baseName.tokenize('.').last()}"
    label 'embed'
    label 'gpu'
    // By content: a chunk that is cut again and comes out the same is not embedded again.
    cache 'deep'
    // A job on a GPU asks for three times what its chunk takes at `gpu_tflops`. Where there is no queue
    // there is no limit either: a task may wait for its GPU.
    time {
        task.executor in [null, 'local'] ? null
            : task.ext.device == 'cpu' ? 8.h * task.attempt
            : (10.min + 1.s * (3e-12d * (work.tokens * model.flops_per_token + work.pairs * model.flops_per_pair) / task.ext.gpu_tflops)) * task.attempt
    }

    input:
    tuple val(sample), path(chunk, arity: '1'), val(work) // [tokens, pairs] that SPLIT counted
    tuple val(model), path(weights, stageAs: 'weights')

    output:
    tuple val(sample), path("${chunk.baseName}.shard.h5"), emit: shard
    tuple val(sample), path("${chunk.baseName}.residues.h5"), emit: residues, optional: true
    path "${chunk.baseName}.stats.json", emit: stats

    script:
    def residues = model.residues ? " --residues ${chunk.baseName}.residues.h5" : ''
    """
    virembed embed ${chunk} \\
        --model esm2 \\
        --weights ${weights} \\
        --device ${task.ext.device} \\
        --precision ${task.ext.precision} \\
        --threads ${task.cpus} \\
        --out ${chunk.baseName}.shard.h5 \\
        --stats ${chunk.baseName}.stats.json${residues}
    """

    stub:
    """
    touch ${chunk.baseName}.shard.h5 ${chunk.baseName}.stats.json${model.residues ? " ${chunk.baseName}.residues.h5" : ''}
    """
}
