// Writes the mean vectors of each record of one sample.
process RECORD_MEANS {
    tag "${sample}"
    label 'writer'

    input:
    tuple val(sample), path(result)

    output:
    path "${sample}.records.h5"

    script:
    """
    virembed export ${result} --format records --out ${sample}.records.h5
    """

    stub:
    """
    touch ${sample}.records.h5
    """
}
