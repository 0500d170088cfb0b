// Scores and calls of VirNucPro's classifier, added to a copy of the result of one sample.
process CLASSIFY {
    tag "${sample}"
    label 'converter' // torch on the CPU

    input:
    tuple val(sample), path(result, stageAs: 'collected/*')
    tuple val(fingerprint), path(classifier)
    val allow_random

    output:
    tuple val(sample), path("${sample}.h5"), path("${sample}/calls/*.{txt,csv,tsv}")

    script:
    """
    virembed classify ${result} \\
        --classifier ${classifier} \\
        --out ${sample}.h5 \\
        --text ${sample}/calls ${allow_random ? '--allow-random' : ''}
    """

    stub:
    """
    mkdir -p ${sample}/calls
    touch ${sample}.h5 ${sample}/calls/prediction_results.txt ${sample}/calls/prediction_results_highestscore.csv ${sample}/calls/prediction_results_records.tsv
    """
}
