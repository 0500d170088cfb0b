// Converts published weights to safetensors, once per model and run directory.
process WEIGHTS {
    tag "${model}"
    label 'converter'

    input:
    tuple val(model), val(fingerprint), path(source)

    output:
    tuple val(model), val(fingerprint), path("${model}.weights", type: 'dir')

    script:
    """
    virembed weights convert ${source} \\
        --model ${model} \\
        --out ${model}.weights
    """

    stub:
    """
    mkdir ${model}.weights
    echo '{}' > ${model}.weights/weights.json
    """
}
