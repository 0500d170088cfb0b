// Converts published weights to safetensors: once per run directory, or with a store once per site.
process WEIGHTS {
    tag "${model}"
    label 'converter'
    // On the machine of the run itself: compute nodes may not see what it reads and writes. A general
    // `process.executor` of a configuration does not change this, `withName: WEIGHTS` does.
    executor 'local'
    // The output may be a link into the store, which would become a copy.
    scratch false
    // A container sees the files of its task, and the store is none of them.
    containerOptions { store ? "${workflow.containerEngine in ['docker', 'podman'] ? '--volume' : '--bind'} ${store}:${store}" : '' }

    input:
    tuple val(model), val(fingerprint), path(source)
    val store

    output:
    tuple val(model), val(fingerprint), path("${model}.weights", type: 'dir')

    script:
    """
    virembed weights convert ${source} \\
        --model ${model} \\
        ${store ? "--store '${store}'" : ''} \\
        --out ${model}.weights
    """

    stub:
    """
    mkdir ${model}.weights
    echo '{}' > ${model}.weights/weights.json
    """
}
